#include "fakeCuda.h"

#include "fakeMachine.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

using fake::holds;
using fake::Lock;
using fake::machine;
using fake::streamOf;
using fake::work;

namespace
{

thread_local int tDevice{};
thread_local bool tCapturing{}; // a capture in one thread leaves the others free

cudaError_t count(char const* function)
{
    ++machine().calls[function];
    return cudaSuccess;
}

void* allocate(std::map<std::uintptr_t, std::size_t>& memory, std::size_t sizeBytes)
{
    void* const address = std::aligned_alloc(256, std::max<std::size_t>(256, (sizeBytes + 255) / 256 * 256));
    std::memset(address, 0xAB, sizeBytes);
    memory[reinterpret_cast<std::uintptr_t>(address)] = sizeBytes;
    return address;
}

void release(std::map<std::uintptr_t, std::size_t>& memory, void* address)
{
    if (memory.erase(reinterpret_cast<std::uintptr_t>(address)) == 0)
    {
        fake::broken("memory is freed that does not exist");
    }
    std::free(address);
}

} // namespace

extern "C"
{

cudaError_t cudaGetDeviceCount(int* gpus)
{
    *gpus = machine().gpus;
    return *gpus > 0 ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t cudaGetDevice(int* ordinal)
{
    *ordinal = tDevice;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int ordinal)
{
    tDevice = ordinal;
    return ordinal >= 0 && ordinal < machine().gpus ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int)
{
    std::snprintf(properties->name, sizeof(properties->name), "%s", machine().name.c_str());
    properties->major = machine().major;
    properties->minor = machine().minor;
    return cudaSuccess;
}

char const* cudaGetErrorString(cudaError_t code)
{
    return code == cudaErrorNoDevice ? "no CUDA-capable device is detected" : "an error of the stand-in";
}

cudaError_t cudaGetLastError()
{
    return cudaSuccess;
}

cudaError_t cudaMalloc(void** address, std::size_t sizeBytes)
{
    Lock const lock(machine().mutex);
    std::size_t used = 0;
    for (auto const& [at, size] : machine().device)
    {
        used += size;
    }
    if (tCapturing)
    {
        return cudaErrorStreamCaptureUnsupported;
    }
    if (used + sizeBytes > machine().memoryBytes)
    {
        return cudaErrorMemoryAllocation;
    }
    *address = allocate(machine().device, sizeBytes);
    return count("cudaMalloc");
}

cudaError_t cudaFree(void* address)
{
    Lock const lock(machine().mutex);
    if (address != nullptr)
    {
        fake::workEverywhere(); // freeing waits for the device
        release(machine().device, address);
    }
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void** address, std::size_t sizeBytes)
{
    Lock const lock(machine().mutex);
    *address = allocate(machine().pinned, sizeBytes);
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void* address)
{
    Lock const lock(machine().mutex);
    if (address != nullptr)
    {
        release(machine().pinned, address);
    }
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, void const* from, std::size_t sizeBytes, cudaMemcpyKind kind, cudaStream_t stream)
{
    Lock const lock(machine().mutex);
    bool const pinned = holds(machine().pinned, from, sizeBytes);
    std::vector<char> pageable;
    if (kind == cudaMemcpyHostToDevice && !pinned) // may be changed by its owner as soon as this returns
    {
        pageable.assign(static_cast<char const*>(from), static_cast<char const*>(from) + sizeBytes);
    }
    fake::enqueue(stream, [=, pageable = std::move(pageable)] {
        if (kind != cudaMemcpyHostToDevice)
        {
            fake::requireDevice(from, sizeBytes);
        }
        if (kind != cudaMemcpyDeviceToHost)
        {
            fake::requireDevice(to, sizeBytes);
        }
        std::memcpy(to, pageable.empty() ? from : pageable.data(), sizeBytes);
    });
    return count("cudaMemcpyAsync");
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int)
{
    Lock const lock(machine().mutex);
    *stream = *machine().streams.insert(new CUstream_st).first;
    return count("cudaStreamCreateWithFlags");
}

cudaError_t cudaStreamCreate(cudaStream_t* stream)
{
    return cudaStreamCreateWithFlags(stream, 0);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    Lock const lock(machine().mutex);
    work(streamOf(stream));
    for (CUevent_st* const event : machine().events)
    {
        event->stream = event->stream == stream ? nullptr : event->stream;
    }
    machine().streams.erase(stream);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    Lock const lock(machine().mutex);
    if (streamOf(stream).captured != nullptr)
    {
        return cudaErrorStreamCaptureUnsupported;
    }
    work(streamOf(stream));
    return count("cudaStreamSynchronize");
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    Lock const lock(machine().mutex);
    return streamOf(stream).queue.empty() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int)
{
    Lock const lock(machine().mutex);
    *event = *machine().events.insert(new CUevent_st).first;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    Lock const lock(machine().mutex);
    machine().events.erase(event);
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    Lock const lock(machine().mutex);
    CUstream_st& of = streamOf(stream);
    *event = {&of, of.done + of.queue.size()};
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int)
{
    Lock const lock(machine().mutex);
    CUevent_st const recorded = *event;
    fake::enqueue(stream, [recorded] {
        if (recorded.stream != nullptr
            && (recorded.stream == &machine().defaultStream || machine().streams.count(recorded.stream) > 0))
        {
            work(*recorded.stream, recorded.position);
        }
    });
    return count("cudaStreamWaitEvent");
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode)
{
    Lock const lock(machine().mutex);
    if (stream == nullptr)
    {
        return cudaErrorStreamCaptureUnsupported;
    }
    streamOf(stream).captured = std::make_unique<CUgraph_st>();
    tCapturing = true;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph)
{
    Lock const lock(machine().mutex);
    auto captured = std::move(streamOf(stream).captured);
    tCapturing = false;
    *graph = nullptr;
    if (captured == nullptr || !machine().capturable)
    {
        return cudaErrorStreamCaptureInvalidated;
    }
    *graph = captured.release();
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long)
{
    Lock const lock(machine().mutex);
    *executable = *machine().graphs.insert(new CUgraphExec_st{graph->work}).first;
    return count("cudaGraphInstantiateWithFlags");
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream)
{
    Lock const lock(machine().mutex);
    if (machine().graphs.count(executable) == 0)
    {
        fake::broken("a graph is launched that does not exist");
    }
    for (auto const& next : executable->work)
    {
        fake::enqueue(stream, next);
    }
    return count("cudaGraphLaunch");
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable)
{
    Lock const lock(machine().mutex);
    machine().graphs.erase(executable);
    delete executable;
    return cudaSuccess;
}

} // extern "C"
