#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

//! \file The machine behind the stand-in for CUDA: what exists, and how streams work.

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

namespace fake
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

//! The only one; used under its mutex.
Machine& machine();

using Lock = std::lock_guard<std::recursive_mutex>;

//! The stream of a handle; null is the default stream.
CUstream_st& streamOf(cudaStream_t stream);

//! Does the work of a stream up to a position.
void work(CUstream_st& stream, std::uint64_t until = UINT64_MAX);

//! Does all work.
void workEverywhere();

//! Whether bytes lie in one of some buffers.
bool holds(std::map<std::uintptr_t, std::size_t> const& memory, void const* address, std::size_t sizeBytes);

} // namespace fake
