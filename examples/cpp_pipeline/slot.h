#pragma once

#include <s2deploy/error.h>

#include <cuda_runtime_api.h>

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

inline void checkCuda(cudaError_t code, char const* function)
{
    if (code != cudaSuccess)
    {
        throw s2deploy::Error(
            std::string(function) + ": " + cudaGetErrorString(code), "nvidia-smi shows the state of the GPU");
    }
}

//! Pinned memory, which the GPU copies from and to while other work goes on.
class PinnedFloats
{
public:
    explicit PinnedFloats(std::size_t count)
        : mSizeBytes(count * sizeof(float))
    {
        checkCuda(cudaMallocHost(&mAddress, mSizeBytes), "cudaMallocHost");
    }

    ~PinnedFloats()
    {
        cudaFreeHost(mAddress);
    }

    PinnedFloats(PinnedFloats const&) = delete;
    PinnedFloats& operator=(PinnedFloats const&) = delete;

    float* get() const noexcept
    {
        return static_cast<float*>(mAddress);
    }

    std::size_t sizeBytes() const noexcept
    {
        return mSizeBytes;
    }

private:
    std::size_t mSizeBytes;
    void* mAddress{};
};

//! One batch on its way: memory for it, a stream, and what is in it.
class Slot
{
public:
    Slot(std::size_t inputs, std::size_t outputs)
        : input(inputs)
        , output(outputs)
    {
        checkCuda(cudaStreamCreateWithFlags(&mStream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    }

    ~Slot()
    {
        cudaStreamSynchronize(mStream);
        cudaStreamDestroy(mStream);
    }

    Slot(Slot const&) = delete;
    Slot& operator=(Slot const&) = delete;

    cudaStream_t stream() const noexcept
    {
        return mStream;
    }

    void wait() const
    {
        checkCuda(cudaStreamSynchronize(mStream), "cudaStreamSynchronize");
    }

    PinnedFloats const input;
    PinnedFloats const output;
    std::vector<std::filesystem::path> samples;

private:
    cudaStream_t mStream{};
};
