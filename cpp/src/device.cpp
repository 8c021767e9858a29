#include "device.h"

#include "s2deploy/error.h"

#include <algorithm>

namespace s2deploy
{
namespace
{

//! What cudaMalloc aligns to, and what TensorRT wants of the addresses it is given.
constexpr std::size_t kALIGNMENT_BYTES = 256;

TargetUnavailableError noGpu(std::string const& what)
{
    return {what + ", and a plan runs on a GPU",
        "check with nvidia-smi; the .onnx the plan was built from runs anywhere"};
}

} // namespace

void check(cudaError_t code, char const* function)
{
    if (code == cudaSuccess)
    {
        return;
    }
    cudaGetLastError(); // or the caller's next query reports this one again
    if (code == cudaErrorMemoryAllocation)
    {
        throw Error("the memory of the GPU ran out",
            "run smaller batches, free other engines, or use a GPU with more memory");
    }
    throw Error(std::string("CUDA failed in ") + function + ": " + cudaGetErrorString(code) + " (error "
            + std::to_string(code) + ")",
        "nvidia-smi shows the state of the GPU; after such an error the process must be started again");
}

Gpu findGpu(int ordinal)
{
    int count{};
    if (cudaError_t const code = cudaGetDeviceCount(&count); code != cudaSuccess)
    {
        cudaGetLastError();
        throw noGpu(std::string("CUDA finds no GPU it can use: ") + cudaGetErrorString(code));
    }
    if (ordinal < 0 || ordinal >= count)
    {
        throw noGpu("there is no GPU " + std::to_string(ordinal) + ": CUDA offers " + std::to_string(count));
    }
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, ordinal), "cudaGetDeviceProperties");
    return {ordinal, properties.name, std::to_string(properties.major) + "." + std::to_string(properties.minor)};
}

ActiveGpu::ActiveGpu(int ordinal)
{
    check(cudaGetDevice(&mBefore), "cudaGetDevice");
    check(cudaSetDevice(ordinal), "cudaSetDevice");
}

ActiveGpu::~ActiveGpu()
{
    cudaSetDevice(mBefore);
}

OwnStream::OwnStream()
{
    check(cudaStreamCreateWithFlags(&mStream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
}

OwnStream::~OwnStream()
{
    cudaStreamSynchronize(mStream);
    cudaStreamDestroy(mStream);
}

void OwnStream::synchronize() const
{
    check(cudaStreamSynchronize(mStream), "cudaStreamSynchronize");
}

bool OwnStream::isDone() const noexcept
{
    return cudaStreamQuery(mStream) == cudaSuccess;
}

Order::Order()
{
    check(cudaEventCreateWithFlags(&mEvent, cudaEventDisableTiming), "cudaEventCreateWithFlags");
}

Order::~Order()
{
    cudaEventDestroy(mEvent);
}

void Order::put(cudaStream_t first, cudaStream_t then) const
{
    check(cudaEventRecord(mEvent, first), "cudaEventRecord");
    check(cudaStreamWaitEvent(then, mEvent, 0), "cudaStreamWaitEvent");
}

DeviceBuffer::~DeviceBuffer()
{
    cudaFree(mAddress);
}

void* DeviceBuffer::reserve(std::size_t sizeBytes)
{
    if (mAddress == nullptr || sizeBytes > mSizeBytes)
    {
        cudaFree(mAddress);
        mAddress = nullptr;
        mSizeBytes = std::max(sizeBytes, kALIGNMENT_BYTES);
        check(cudaMalloc(&mAddress, mSizeBytes), "cudaMalloc");
    }
    return mAddress;
}

Graph::~Graph()
{
    if (mGraph != nullptr)
    {
        cudaGraphExecDestroy(mGraph);
    }
}

bool Graph::capture(cudaStream_t stream, std::function<bool()> const& enqueue)
{
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    bool const enqueued = enqueue();
    cudaGraph_t graph{};
    cudaError_t code = cudaStreamEndCapture(stream, &graph);
    if (code == cudaSuccess && enqueued)
    {
        code = cudaGraphInstantiateWithFlags(&mGraph, graph, 0);
    }
    if (graph != nullptr)
    {
        cudaGraphDestroy(graph);
    }
    if (code != cudaSuccess)
    {
        cudaGetLastError(); // some layers decide on the host; that is no failure of the run
    }
    return mGraph != nullptr;
}

void Graph::launch(cudaStream_t stream) const
{
    check(cudaGraphLaunch(mGraph, stream), "cudaGraphLaunch");
}

} // namespace s2deploy
