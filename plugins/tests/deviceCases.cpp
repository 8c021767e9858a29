#include "deviceCases.h"

#include "checks.h"
#include "shiftSumPoolSplit.h"

#include <algorithm>
#include <cstring>

namespace s2deploy
{
namespace
{
constexpr int32_t kSKIPPED = 77;

//! A buffer of its own for every tensor, so that compute-sanitizer sees what lies beyond one.
class DeviceBuffer
{
public:
    DeviceBuffer(size_t bytes, size_t offset)
        : mBytes(bytes)
    {
        check(cudaMalloc(&mBase, std::max<size_t>(bytes + offset, 1)) == cudaSuccess, "cudaMalloc");
        mData = static_cast<char*>(mBase) + offset;
    }

    ~DeviceBuffer()
    {
        cudaFree(mBase);
    }

    DeviceBuffer(DeviceBuffer const&) = delete;
    DeviceBuffer& operator=(DeviceBuffer const&) = delete;

    void write(std::vector<uint8_t> const& bytes)
    {
        cudaError_t const status = cudaMemcpy(mData, bytes.data(), bytes.size(), cudaMemcpyHostToDevice);
        check(status == cudaSuccess, "copy");
    }

    void fill(int32_t value)
    {
        check(cudaMemset(mData, value, mBytes) == cudaSuccess, "cudaMemset");
    }

    std::vector<uint8_t> read() const
    {
        std::vector<uint8_t> bytes(mBytes);
        cudaError_t const status = cudaMemcpy(bytes.data(), mData, mBytes, cudaMemcpyDeviceToHost);
        check(status == cudaSuccess, "copy back");
        return bytes;
    }

    void* data() const
    {
        return mData;
    }

private:
    void* mBase{nullptr};
    char* mData{nullptr};
    size_t mBytes;
};

//! Equal bytes, but for the sign of a zero that was summed in another order.
bool isEqual(std::vector<uint8_t> const& got, std::vector<uint8_t> const& expected, size_t elementBytes)
{
    for (size_t at = 0; at < expected.size(); at += elementBytes)
    {
        uint32_t first = 0;
        uint32_t second = 0;
        std::memcpy(&first, &got[at], elementBytes);
        std::memcpy(&second, &expected[at], elementBytes);
        uint32_t const sign = 1U << (8 * elementBytes - 1);
        if (first != second && ((first | second) & ~sign) != 0)
        {
            return false;
        }
    }
    return true;
}

//! \return the error of replaying what \p start put on the stream
cudaError_t replay(cudaStream_t stream, std::function<bool()> const& start)
{
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    cudaError_t status = cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal);
    bool const started = status == cudaSuccess && start();
    cudaError_t const ended = cudaStreamEndCapture(stream, &graph);
    if (!started || ended != cudaSuccess)
    {
        return started ? ended : cudaErrorUnknown;
    }
    status = cudaGraphInstantiateWithFlags(&executable, graph, 0);
    if (status == cudaSuccess)
    {
        status = cudaGraphLaunch(executable, stream);
    }
    if (status == cudaSuccess)
    {
        status = cudaStreamSynchronize(stream);
    }
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
    return status;
}
} // namespace

int runOnDevice(char const* name, char const* casesPath, bool takesBfloat16,
    std::function<bool(ReferenceCase const&, DeviceBuffers const&)> const& launch)
{
    int32_t devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0)
    {
        std::printf("%s: skipped, there is no GPU\n", name);
        return kSKIPPED;
    }
    std::vector<ReferenceCase> const cases = readCases(casesPath);
    check(!cases.empty(), "no cases");
    cudaStream_t stream = nullptr;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess, "cudaStreamCreate");
    int32_t ran = 0;
    for (ReferenceCase const& c : cases)
    {
        if (c.kind == CaseKind::kGROUPS || (c.type == ElementType::kBFLOAT16 && !takesBfloat16))
        {
            continue;
        }
        ++ran;
        bool const pools = c.kind == CaseKind::kSHIFT_SUM_POOL;
        size_t const width = static_cast<size_t>(elementBytes(c.type));
        size_t const offset = static_cast<size_t>(c.misalignment) * width;
        DeviceBuffer x(c.x.size(), offset);
        DeviceBuffer w(c.w.size(), offset);
        DeviceBuffer y(c.expected.size(), pools ? 0 : offset);
        DeviceBuffer workspace(
            pools ? shiftSumPoolWorkspaceBytes(c.batch, c.channels / c.branches, c.layout) : 0, 0);
        x.write(c.x);
        w.write(c.w);
        DeviceBuffers const buffers{x.data(), w.data(), y.data(), workspace.data(), stream};
        size_t const outputBytes = pools ? sizeof(float) : width;
        for (bool const captured : {false, true})
        {
            if (captured && c.expected.empty())
            {
                continue; // an empty graph
            }
            y.fill(0x7E);
            check(cudaDeviceSynchronize() == cudaSuccess, "synchronize");
            bool const succeeded = captured
                ? replay(stream, [&] { return launch(c, buffers); }) == cudaSuccess
                : launch(c, buffers) && cudaStreamSynchronize(stream) == cudaSuccess;
            check(succeeded, std::string(captured ? "graph: " : "launch: ") + c.text());
            check(isEqual(y.read(), c.expected, outputBytes), std::string(captured ? "graph: " : "") + c.text());
        }
    }
    cudaStreamDestroy(stream);
    std::printf("%d cases on a GPU, each directly and out of a graph\n", ran);
    return finish(name);
}

} // namespace s2deploy
