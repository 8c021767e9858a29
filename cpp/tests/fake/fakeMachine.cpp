#include "fakeMachine.h"

#include "fakeCuda.h"

#include <cstdio>
#include <cstdlib>
#include <iterator>

namespace fake
{

Machine& machine()
{
    static auto& only = *new Machine;
    return only;
}

CUstream_st& streamOf(cudaStream_t stream)
{
    if (stream == nullptr)
    {
        return machine().defaultStream;
    }
    if (machine().streams.count(stream) == 0)
    {
        broken("a stream is used that does not exist");
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

bool holds(std::map<std::uintptr_t, std::size_t> const& memory, void const* address, std::size_t sizeBytes)
{
    auto const at = reinterpret_cast<std::uintptr_t>(address);
    auto const after = memory.upper_bound(at);
    return after != memory.begin() && at + sizeBytes <= std::prev(after)->first + std::prev(after)->second;
}

void workEverywhere()
{
    work(machine().defaultStream);
    for (CUstream_st* const stream : machine().streams)
    {
        work(*stream);
    }
}

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

void hurryOthers(cudaStream_t stream)
{
    Lock const lock(machine().mutex);
    for (CUstream_st* const other : machine().streams)
    {
        if (other != stream)
        {
            work(*other);
        }
    }
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
