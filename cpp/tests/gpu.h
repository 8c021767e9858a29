#pragma once

#include "s2deploy/tensor.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <vector>

//! \file Memory and streams of the caller.

namespace test
{

//! Floats on the device.
class DeviceFloats
{
public:
    explicit DeviceFloats(std::size_t count, std::size_t offset = 0)
        : mCount(count)
        , mOffset(offset)
    {
        cudaMalloc(&mAddress, (count + offset) * sizeof(float));
    }

    explicit DeviceFloats(std::vector<float> const& values, std::size_t offset = 0)
        : DeviceFloats(values.size(), offset)
    {
        cudaMemcpyAsync(get(), values.data(), sizeBytes(), cudaMemcpyHostToDevice, nullptr);
        cudaStreamSynchronize(nullptr);
    }

    ~DeviceFloats()
    {
        cudaFree(mAddress);
    }

    DeviceFloats(DeviceFloats const&) = delete;
    DeviceFloats& operator=(DeviceFloats const&) = delete;

    float* get() const
    {
        return static_cast<float*>(mAddress) + mOffset;
    }

    std::size_t sizeBytes() const
    {
        return mCount * sizeof(float);
    }

    s2deploy::Input input(s2deploy::Shape const& shape) const
    {
        return {get(), s2deploy::DataType::kFLOAT32, shape, s2deploy::Memory::kDEVICE};
    }

    s2deploy::Output output() const
    {
        return {get(), sizeBytes(), s2deploy::Memory::kDEVICE};
    }

    //! The values as they are now; a stream that is still at work on them has not changed them yet.
    s2deploy::Tensor read() const
    {
        s2deploy::Tensor tensor{
            s2deploy::DataType::kFLOAT32, {static_cast<std::int64_t>(mCount)}, std::vector<std::byte>(sizeBytes())};
        cudaMemcpyAsync(tensor.bytes.data(), get(), sizeBytes(), cudaMemcpyDeviceToHost, nullptr);
        cudaStreamSynchronize(nullptr);
        return tensor;
    }

private:
    std::size_t mCount;
    std::size_t mOffset;
    void* mAddress{};
};

class CallersStream
{
public:
    CallersStream()
    {
        cudaStreamCreate(&mStream);
    }

    ~CallersStream()
    {
        cudaStreamDestroy(mStream);
    }

    CallersStream(CallersStream const&) = delete;
    CallersStream& operator=(CallersStream const&) = delete;

    cudaStream_t get() const
    {
        return mStream;
    }

    void wait() const
    {
        cudaStreamSynchronize(mStream);
    }

private:
    cudaStream_t mStream{};
};

//! Floats in pinned memory of the host.
class PinnedFloats
{
public:
    explicit PinnedFloats(std::vector<float> const& values)
        : mSizeBytes(values.size() * sizeof(float))
    {
        cudaMallocHost(&mAddress, mSizeBytes);
        std::copy(values.begin(), values.end(), get());
    }

    ~PinnedFloats()
    {
        cudaFreeHost(mAddress);
    }

    PinnedFloats(PinnedFloats const&) = delete;
    PinnedFloats& operator=(PinnedFloats const&) = delete;

    float* get() const
    {
        return static_cast<float*>(mAddress);
    }

    s2deploy::Input input(s2deploy::Shape const& shape) const
    {
        return {get(), s2deploy::DataType::kFLOAT32, shape, s2deploy::Memory::kHOST};
    }

    s2deploy::Output output() const
    {
        return {get(), mSizeBytes, s2deploy::Memory::kHOST};
    }

private:
    std::size_t mSizeBytes;
    void* mAddress{};
};

} // namespace test
