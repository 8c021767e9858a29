#include "fakeTensorRT.h"

#include "fakeContext.h"

#include <array>
#include <dlfcn.h>

#define HAS_REGISTRY (NV_TENSORRT_MAJOR > 8 || NV_TENSORRT_MINOR >= 6)

namespace
{

using fake::Context;
using fake::json;
using fake::Plan;
using fake::Sizes;
using fake::toDims;

std::array<int, 4> gVersion{NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR, NV_TENSORRT_PATCH, 42};

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
    return contexts().alive;
}

int contextsMade()
{
    return contexts().made;
}

void setLibraryVersion(int major, int minor, int patch, int build)
{
    gVersion = {major, minor, patch, build};
}

void setRunsFail(bool fail)
{
    contexts().runsFail = fail;
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
