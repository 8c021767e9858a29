#include "fakeTensorRT.h"

#include "stubs.h"

#include <NvInferRuntime.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <dlfcn.h>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#define HAS_REGISTRY (NV_TENSORRT_MAJOR > 8 || NV_TENSORRT_MINOR >= 6)

namespace
{

using nlohmann::json;
using Sizes = std::vector<int64_t>;

std::atomic<int> gContexts{};
std::atomic<int> gContextsMade{};
std::array<int, 4> gVersion{NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR, NV_TENSORRT_PATCH, 42};
std::atomic<bool> gRunsFail{};

nvinfer1::Dims toDims(Sizes const& sizes)
{
    nvinfer1::Dims dims{};
    dims.nbDims = static_cast<int32_t>(sizes.size());
    std::copy(sizes.begin(), sizes.end(), dims.d);
    return dims;
}

std::size_t elements(Sizes const& sizes)
{
    std::size_t product = 1;
    for (int64_t const size : sizes)
    {
        product *= static_cast<std::size_t>(size);
    }
    return product;
}

//! Stops the test where two threads use an object at once.
class OneThread
{
public:
    explicit OneThread(std::atomic<bool>& busy)
        : mBusy(busy)
    {
        if (mBusy.exchange(true))
        {
            fake::broken("two threads use an execution context at once");
        }
        std::this_thread::yield();
    }

    ~OneThread()
    {
        mBusy = false;
    }

private:
    std::atomic<bool>& mBusy;
};

struct Tensor
{
    std::string name;
    bool isInput;
    Sizes shape;
};

struct Plan
{
    explicit Plan(json const& from)
        : content(from)
        , kind(from.value("kind", "double"))
    {
        for (auto const& [name, shape] : from.at("inputs").items())
        {
            tensors.push_back({name, true, shape.get<Sizes>()});
        }
        Sizes const first = tensors.front().shape;
        if (kind == "means")
        {
            tensors.push_back({"scores", false, {first.at(0), first.at(1)}});
            return;
        }
        tensors.push_back({"y", false, first});
        if (kind == "positive")
        {
            tensors.push_back({"positive", false, {-1}});
        }
    }

    Tensor const& find(std::string const& name) const
    {
        auto const found = std::find_if(
            tensors.begin(), tensors.end(), [&name](Tensor const& tensor) { return tensor.name == name; });
        return found != tensors.end() ? *found : (fake::broken("the plan has no tensor " + name), tensors.front());
    }

    bool isDynamic() const
    {
        Sizes const& first = tensors.front().shape;
        return std::find(first.begin(), first.end(), -1) != first.end();
    }

    json content;
    std::string kind;
    std::vector<Tensor> tensors;
    nvinfer1::ILogger* logger{};
    int contexts{};
};

class Context : public nvinfer1::IExecutionContext, public nvinfer1::StubContext
{
public:
    explicit Context(Plan& plan)
        : mPlan(plan)
    {
        mImpl = this;
        ++gContexts;
        ++gContextsMade;
        if (++mPlan.contexts > 1 && NV_TENSORRT_MAJOR < 10 && mPlan.isDynamic())
        {
            fake::broken("two contexts share an optimization profile");
        }
        for (Tensor const& tensor : mPlan.tensors)
        {
            mShapes[tensor.name] = tensor.shape;
        }
    }

    ~Context() noexcept override
    {
        --gContexts;
        --mPlan.contexts;
    }

    int32_t getOptimizationProfile() const noexcept override
    {
        return mProfile;
    }

    bool setOptimizationProfileAsync(int32_t profile, cudaStream_t) noexcept override
    {
        OneThread const only(mBusy);
        mProfile = profile;
        return true;
    }

    bool setInputShape(char const* name, nvinfer1::Dims const& dims) noexcept override
    {
        OneThread const only(mBusy);
        Sizes const shape(dims.d, dims.d + dims.nbDims);
        if (mPlan.isDynamic())
        {
            json const range = mPlan.content.at("profiles").at(mProfile).at(name);
            for (std::size_t axis = 0; axis < shape.size(); ++axis)
            {
                if (shape[axis] < range[0][axis] || shape[axis] > range[2][axis])
                {
                    fake::broken("a shape is set that the profile does not take");
                }
            }
        }
        mShapes[name] = shape;
        if (name == mPlan.tensors.front().name)
        {
            mShapes["y"] = shape;
            mShapes["scores"] = {shape.at(0), shape.size() > 1 ? shape[1] : 1};
        }
        return true;
    }

    int32_t inferShapes(int32_t, char const**) noexcept override
    {
        return 0;
    }

    nvinfer1::Dims getTensorShape(char const* name) const noexcept override
    {
        return toDims(mShapes.at(name));
    }

    bool setTensorAddress(char const* name, void* address) noexcept override
    {
        OneThread const only(mBusy);
        mAddresses[name] = address;
        return address != nullptr && reinterpret_cast<std::uintptr_t>(address) % 256 == 0;
    }

    bool setOutputAllocator(char const* name, nvinfer1::IOutputAllocator* allocator) noexcept override
    {
        mAllocators[name] = allocator;
        return true;
    }

    bool enqueueV3(cudaStream_t stream) noexcept override
    {
        OneThread const only(mBusy);
        if (gRunsFail)
        {
            mPlan.logger->log(nvinfer1::ILogger::Severity::kERROR, "the kernel fell over");
            return false;
        }
        std::string const& x = mPlan.tensors.front().name;
        auto const* from = static_cast<float const*>(mAddresses.at(x));
        Sizes const shape = mShapes.at(x);
        std::weak_ptr<int> const alive = mAlive;
        if (mPlan.kind == "means")
        {
            auto* const to = static_cast<float*>(mAddresses.at("scores"));
            fake::enqueue(stream, [=] { means(alive, from, to, shape); });
            return true;
        }
        auto* const to = static_cast<float*>(mAddresses.at("y"));
        fake::enqueue(stream, [=] { doubled(alive, from, to, elements(shape)); });
        return mPlan.kind != "positive" || positive(stream, from, elements(shape));
    }

private:
    static void require(std::weak_ptr<int> const& alive)
    {
        if (alive.expired())
        {
            fake::broken("an execution context was freed before its work was over");
        }
    }

    static void doubled(std::weak_ptr<int> const& alive, float const* from, float* to, std::size_t count)
    {
        require(alive);
        fake::requireDevice(from, count * sizeof(float));
        fake::requireDevice(to, count * sizeof(float));
        std::transform(from, from + count, to, [](float x) { return x + x; });
    }

    static void means(std::weak_ptr<int> const& alive, float const* from, float* to, Sizes const& shape)
    {
        require(alive);
        std::size_t const rows = elements({shape[0], shape[1]});
        std::size_t const columns = elements(shape) / std::max<std::size_t>(1, rows);
        fake::requireDevice(from, rows * columns * sizeof(float));
        fake::requireDevice(to, rows * sizeof(float));
        for (std::size_t row = 0; row < rows; ++row)
        {
            double sum = 0;
            for (std::size_t column = 0; column < columns; ++column)
            {
                sum += static_cast<double>(from[row * columns + column]);
            }
            to[row] = static_cast<float>(sum / static_cast<double>(columns));
        }
    }

    //! Counts on the host, as layers of such shapes do, so it waits for what is in the stream.
    bool positive(cudaStream_t stream, float const* from, std::size_t count)
    {
        if (fake::isCapturing(stream) || cudaStreamSynchronize(stream) != cudaSuccess)
        {
            return false;
        }
        std::vector<float> found;
        std::copy_if(from, from + count, std::back_inserter(found), [](float x) { return x > 0; });
        nvinfer1::IOutputAllocator* const allocator = mAllocators.at("positive");
        std::size_t const sizeBytes = found.size() * sizeof(float);
        void* const before = mAddresses.at("positive");
#if NV_TENSORRT_MAJOR >= 10
        void* const to = allocator->reallocateOutputAsync("positive", before, sizeBytes, 256, stream);
#else
        void* const to = allocator->reallocateOutput("positive", before, sizeBytes, 256);
#endif
        if (to == nullptr)
        {
            mPlan.logger->log(nvinfer1::ILogger::Severity::kERROR, "no memory for an output");
            return false;
        }
        allocator->notifyShape("positive", toDims({static_cast<int64_t>(found.size())}));
        fake::enqueue(stream, [to, found, sizeBytes] {
            fake::requireDevice(to, sizeBytes);
            std::memcpy(to, found.data(), sizeBytes);
        });
        return true;
    }

    Plan& mPlan;
    int32_t mProfile{};
    std::atomic<bool> mBusy{};
    std::map<std::string, Sizes> mShapes;
    std::map<std::string, void*> mAddresses;
    std::map<std::string, nvinfer1::IOutputAllocator*> mAllocators;
    std::shared_ptr<int> mAlive{std::make_shared<int>()};
};

class Engine : public nvinfer1::ICudaEngine, public nvinfer1::StubEngine
{
public:
    Engine(json const& content, nvinfer1::ILogger& logger, std::shared_ptr<int> runtime)
        : mPlan(content)
        , mRuntime(std::move(runtime))
    {
        mImpl = this;
        mPlan.logger = &logger;
    }

    ~Engine() noexcept override
    {
        if (mPlan.contexts > 0)
        {
            fake::broken("an engine is freed before its contexts");
        }
        if (mRuntime.expired())
        {
            fake::broken("a runtime was freed before its engine");
        }
    }

    int32_t getNbIOTensors() const noexcept override
    {
        return static_cast<int32_t>(mPlan.tensors.size());
    }

    char const* getIOTensorName(int32_t index) const noexcept override
    {
        return mPlan.tensors.at(static_cast<std::size_t>(index)).name.c_str();
    }

    nvinfer1::TensorIOMode getTensorIOMode(char const* name) const noexcept override
    {
        return mPlan.find(name).isInput ? nvinfer1::TensorIOMode::kINPUT : nvinfer1::TensorIOMode::kOUTPUT;
    }

    nvinfer1::Dims getTensorShape(char const* name) const noexcept override
    {
        return toDims(mPlan.find(name).shape);
    }

    nvinfer1::DataType getTensorDataType(char const*) const noexcept override
    {
        std::string const type = mPlan.content.value("type", "float32");
        return type == "float32" ? nvinfer1::DataType::kFLOAT
            : type == "float16"  ? nvinfer1::DataType::kHALF
                                 : static_cast<nvinfer1::DataType>(99);
    }

    nvinfer1::TensorLocation getTensorLocation(char const*) const noexcept override
    {
        return mPlan.content.value("sizesOnHost", false) ? nvinfer1::TensorLocation::kHOST
                                                         : nvinfer1::TensorLocation::kDEVICE;
    }

    nvinfer1::TensorFormat getTensorFormat(char const*) const noexcept override
    {
        return mPlan.content.value("vectorized", false) ? nvinfer1::TensorFormat::kCHW32
                                                        : nvinfer1::TensorFormat::kLINEAR;
    }

    char const* getTensorFormatDesc(char const*) const noexcept override
    {
        return "thirty-two channels together";
    }

    int32_t getNbOptimizationProfiles() const noexcept override
    {
        return static_cast<int32_t>(mPlan.content.value("profiles", json::array()).size());
    }

    nvinfer1::Dims getProfileShape(
        char const* name, int32_t profile, nvinfer1::OptProfileSelector which) const noexcept override
    {
        return toDims(mPlan.content.at("profiles").at(profile).at(name).at(static_cast<int>(which)).get<Sizes>());
    }

#if NV_TENSORRT_MAJOR >= 10
    nvinfer1::IExecutionContext* createExecutionContext(
        nvinfer1::ExecutionContextAllocationStrategy) noexcept override
#else
    nvinfer1::IExecutionContext* createExecutionContext() noexcept override
#endif
    {
        return new Context(mPlan);
    }

private:
    Plan mPlan;
    std::weak_ptr<int> mRuntime;
};

#if HAS_REGISTRY
class Registry : public nvinfer1::StubRegistry
{
public:
    explicit Registry(nvinfer1::ILogger& logger)
        : mLogger(logger)
    {
    }

    PluginLibraryHandle loadLibrary(char const* path) noexcept override
    {
        void* const handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
        if (handle == nullptr)
        {
            mLogger.log(nvinfer1::ILogger::Severity::kERROR, dlerror());
        }
        return handle;
    }

private:
    nvinfer1::ILogger& mLogger;
};
#endif

class Runtime : public nvinfer1::IRuntime, public nvinfer1::StubRuntime
{
public:
    explicit Runtime(nvinfer1::ILogger& logger)
        : mLogger(logger)
#if HAS_REGISTRY
        , mRegistry(logger)
#endif
    {
        mImpl = this;
    }

#if NV_TENSORRT_MAJOR >= 10
    nvinfer1::ICudaEngine* deserializeCudaEngine(void const* bytes, std::size_t sizeBytes) noexcept override
#else
    nvinfer1::ICudaEngine* deserializeCudaEngine(
        void const* bytes, std::size_t sizeBytes, nvinfer1::IPluginFactory*) noexcept override
#endif
    {
        auto const* first = static_cast<char const*>(bytes);
        json const content = json::parse(first, first + sizeBytes, nullptr, false);
        std::string reason = content.is_object() ? content.value("refuse", "") : "the magic tag does not match";
        if (reason.empty() && content.value("hostCode", false) && !mHostCode)
        {
            reason = "the plan holds host code, which is not allowed";
        }
        if (reason.empty() && content.value("needsPlugin", false)
            && dlsym(RTLD_DEFAULT, "thePluginOfTheTest") == nullptr)
        {
            reason = "the plugin is not registered";
        }
        if (!reason.empty())
        {
            mLogger.log(nvinfer1::ILogger::Severity::kERROR, reason.c_str());
            return nullptr;
        }
        return new Engine(content, mLogger, mAlive);
    }

#if HAS_REGISTRY
    void setEngineHostCodeAllowed(bool allowed) noexcept override
    {
        mHostCode = allowed;
    }

    nvinfer1::IPluginRegistry& getPluginRegistry() noexcept override
    {
        return mRegistry;
    }
#endif

private:
    nvinfer1::ILogger& mLogger;
    bool mHostCode{};
#if HAS_REGISTRY
    Registry mRegistry;
#endif
    std::shared_ptr<int> mAlive{std::make_shared<int>()};
};

} // namespace

namespace fake
{

int contextsAlive()
{
    return gContexts;
}

int contextsMade()
{
    return gContextsMade;
}

void setLibraryVersion(int major, int minor, int patch, int build)
{
    gVersion = {major, minor, patch, build};
}

void setRunsFail(bool fail)
{
    gRunsFail = fail;
}

} // namespace fake

extern "C" void* createInferRuntime_INTERNAL(void* logger, int32_t) noexcept
{
    return static_cast<nvinfer1::IRuntime*>(new Runtime(*static_cast<nvinfer1::ILogger*>(logger)));
}

#if NV_TENSORRT_MAJOR >= 10
extern "C" int32_t getInferLibMajorVersion() noexcept
{
    return gVersion[0];
}

extern "C" int32_t getInferLibMinorVersion() noexcept
{
    return gVersion[1];
}

extern "C" int32_t getInferLibPatchVersion() noexcept
{
    return gVersion[2];
}

extern "C" int32_t getInferLibBuildVersion() noexcept
{
    return gVersion[3];
}
#else
extern "C" int32_t getInferLibVersion() noexcept
{
    return gVersion[0] * 1000 + gVersion[1] * 100 + gVersion[2];
}
#endif
