#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <string>

//! \file CUDA's resources, each freed by its owner.

namespace s2deploy
{

//! Translates a failure of CUDA.
//!
//! \param function What was called, for the message.
//! \throws Error It failed.
void check(cudaError_t code, char const* function);

//! One GPU.
struct Gpu
{
    int ordinal{};
    std::string name;
    //! Compute capability, e.g. "8.6".
    std::string capability;
};

//! Describes a GPU.
//!
//! \throws TargetUnavailableError There is none of that number.
Gpu findGpu(int ordinal);

//! Makes a GPU the calling thread's own while this lives.
class ActiveGpu
{
public:
    explicit ActiveGpu(int ordinal);
    ~ActiveGpu();
    ActiveGpu(ActiveGpu const&) = delete;
    ActiveGpu& operator=(ActiveGpu const&) = delete;

private:
    int mBefore{};
};

//! A stream that waits for no other.
class OwnStream
{
public:
    OwnStream();
    ~OwnStream();
    OwnStream(OwnStream const&) = delete;
    OwnStream& operator=(OwnStream const&) = delete;

    cudaStream_t get() const noexcept
    {
        return mStream;
    }

    //! Waits until its work is over.
    void synchronize() const;

    //! Whether its work is over.
    bool isDone() const noexcept;

private:
    cudaStream_t mStream{};
};

//! Lets streams wait for each other, on the device.
class Order
{
public:
    Order();
    ~Order();
    Order(Order const&) = delete;
    Order& operator=(Order const&) = delete;

    //! What is given to `then` from now on waits for what `first` was given so far.
    void put(cudaStream_t first, cudaStream_t then) const;

private:
    cudaEvent_t mEvent{};
};

//! Memory of the device that is kept from call to call and grows when it must.
class DeviceBuffer
{
public:
    DeviceBuffer() = default;
    ~DeviceBuffer();
    DeviceBuffer(DeviceBuffer const&) = delete;
    DeviceBuffer& operator=(DeviceBuffer const&) = delete;

    //! The address of at least that much memory, aligned to 256 bytes; even nothing has an address.
    void* reserve(std::size_t sizeBytes);

    void* get() const noexcept
    {
        return mAddress;
    }

private:
    void* mAddress{};
    std::size_t mSizeBytes{};
};

//! Work that was given to a stream once and is launched as one from then on.
class Graph
{
public:
    Graph() = default;
    ~Graph();
    Graph(Graph const&) = delete;
    Graph& operator=(Graph const&) = delete;

    //! Captures what a function gives to a stream; it is not done meanwhile.
    //!
    //! \param enqueue Returns whether it could.
    //! \return Whether all of it can be part of a graph.
    bool capture(cudaStream_t stream, std::function<bool()> const& enqueue);

    void launch(cudaStream_t stream) const;

    explicit operator bool() const noexcept
    {
        return mGraph != nullptr;
    }

private:
    cudaGraphExec_t mGraph{};
};

} // namespace s2deploy
