#include "fakeCuda.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

struct CUgraph_st
{
    std::vector<std::function<void()>> work;
};

struct CUgraphExec_st
{
    std::vector<std::function<void()>> work;
};

struct CUstream_st
{
    std::deque<std::function<void()>> queue;
    std::uint64_t done{};
    std::unique_ptr<CUgraph_st> captured;
};

struct CUevent_st
{
    CUstream_st* stream{};
    std::uint64_t position{};
};

namespace
{

struct Machine
{
    std::recursive_mutex mutex;
    int gpus{1};
    std::string name{"Fake GPU"};
    int major{8};
    int minor{6};
    std::size_t memoryBytes{std::size_t{1} << 30};
    bool capturable{true};
    std::map<std::uintptr_t, std::size_t> device;
    std::map<std::uintptr_t, std::size_t> pinned;
    std::set<CUstream_st*> streams;
    std::set<CUevent_st*> events;
    std::set<CUgraphExec_st*> graphs;
    std::map<std::string, int> calls;
    CUstream_st defaultStream;
};

Machine& machine()
{
    static auto& only = *new Machine;
    return only;
}

thread_local int tDevice{};
thread_local bool tCapturing{}; // a capture in one thread leaves the others free

using Lock = std::lock_guard<std::recursive_mutex>;

CUstream_st& streamOf(cudaStream_t stream)
{
    if (stream == nullptr)
    {
        return machine().defaultStream;
    }
    if (machine().streams.count(stream) == 0)
    {
        fake::broken("a stream is used that does not exist");
    }
    return *stream;
}

void work(CUstream_st& stream, std::uint64_t until)
{
    while (stream.done < until && !stream.queue.empty())
    {
        auto const next = std::move(stream.queue.front());
        stream.queue.pop_front();
        ++stream.done;
        next();
    }
}

void work(CUstream_st& stream)
{
    work(stream, UINT64_MAX);
}

bool holds(std::map<std::uintptr_t, std::size_t> const& memory, void const* address, std::size_t sizeBytes)
{
    auto const at = reinterpret_cast<std::uintptr_t>(address);
    auto const after = memory.upper_bound(at);
    return after != memory.begin() && at + sizeBytes <= std::prev(after)->first + std::prev(after)->second;
}

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

void workEverywhere()
{
    work(machine().defaultStream);
    for (CUstream_st* const stream : machine().streams)
    {
        work(*stream);
    }
}

} // namespace

namespace fake
{

Alive alive()
{
    Lock const lock(machine().mutex);
    Machine const& all = machine();
    return {all.device.size(), all.pinned.size(), all.streams.size(), all.events.size(), all.graphs.size()};
}

int calls(std::string const& function)
{
    Lock const lock(machine().mutex);
    return machine().calls[function];
}

void broken(std::string const& what)
{
    std::fprintf(stderr, "the stand-in stops: %s\n", what.c_str());
    std::abort();
}

void enqueue(cudaStream_t stream, std::function<void()> next)
{
    Lock const lock(machine().mutex);
    CUstream_st& to = streamOf(stream);
    if (to.captured != nullptr)
    {
        to.captured->work.push_back(std::move(next));
        return;
    }
    to.queue.push_back(std::move(next));
}

bool isCapturing(cudaStream_t stream)
{
    Lock const lock(machine().mutex);
    return streamOf(stream).captured != nullptr;
}

void requireDevice(void const* address, std::size_t sizeBytes)
{
    if (!holds(machine().device, address, sizeBytes))
    {
        broken("the device uses memory it does not have");
    }
}

void setGpu(int gpus, std::string const& name, int major, int minor)
{
    Lock const lock(machine().mutex);
    machine().gpus = gpus;
    machine().name = name;
    machine().major = major;
    machine().minor = minor;
}

void setMemoryBytes(std::size_t sizeBytes)
{
    Lock const lock(machine().mutex);
    machine().memoryBytes = sizeBytes;
}

void setCapturable(bool capturable)
{
    Lock const lock(machine().mutex);
    machine().capturable = capturable;
}

} // namespace fake

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
        workEverywhere(); // freeing waits for the device
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
