#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <string>

//! \file The stand-in for CUDA's runtime: device memory is the host's, and a stream does its work only when somebody
//! waits for it, so that a missing synchronization shows. Whatever real CUDA leaves undefined stops the test.

namespace fake
{

//! What exists at the moment.
struct Alive
{
    std::size_t deviceBuffers;
    std::size_t pinnedBuffers;
    std::size_t streams;
    std::size_t events;
    std::size_t graphs;

    bool operator==(Alive const& other) const noexcept
    {
        return deviceBuffers == other.deviceBuffers && pinnedBuffers == other.pinnedBuffers
            && streams == other.streams && events == other.events && graphs == other.graphs;
    }
};

Alive alive();

//! How often a function was called successfully, e.g. "cudaGraphLaunch".
int calls(std::string const& function);

//! Stops the test.
[[noreturn]] void broken(std::string const& what);

//! Gives work to a stream, or to the graph that is being captured on it.
void enqueue(cudaStream_t stream, std::function<void()> work);

//! Does what other streams than this one can do already, as a GPU may at any time.
void hurryOthers(cudaStream_t stream);

//! Whether a stream is being captured.
bool isCapturing(cudaStream_t stream);

//! Stops the test unless these bytes lie in memory of the device.
void requireDevice(void const* address, std::size_t sizeBytes);

//! \name The machine
//! @{
void setGpu(int count, std::string const& name, int major, int minor);
void setMemoryBytes(std::size_t sizeBytes);
void setCapturable(bool capturable);
//! @}

} // namespace fake
