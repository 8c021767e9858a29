#include "library.h"

#include <NvInferPlugin.h>

#include <algorithm>

#if NV_TENSORRT_MAJOR == 8 && NV_TENSORRT_MINOR < 6
#include <dlfcn.h>
#endif

namespace s2deploy
{

std::string libraryVersion()
{
#if NV_TENSORRT_MAJOR >= 10
    int const numbers[]{getInferLibMajorVersion(), getInferLibMinorVersion(), getInferLibPatchVersion(),
        getInferLibBuildVersion()};
#else
    int const number = getInferLibVersion(); // 8503 is 8.5.3
    int const numbers[]{number / 1000, number % 1000 / 100, number % 100};
#endif
    std::string text;
    for (int const each : numbers)
    {
        text += (text.empty() ? "" : ".") + std::to_string(each);
    }
    return text;
}

bool profilesAreExclusive()
{
    return NV_TENSORRT_MAJOR < 10;
}

Deserialized::Deserialized(
    std::vector<char> const& plan, bool hostCode, std::vector<std::filesystem::path> const& plugins)
{
    Said said;
    mRuntime.reset(nvinfer1::createInferRuntime(Said::logger()));
    if (mRuntime == nullptr)
    {
        throw said.failed("cannot start");
    }
#if NV_TENSORRT_MAJOR > 8 || NV_TENSORRT_MINOR >= 6
    mRuntime->setEngineHostCodeAllowed(hostCode);
#else
    static_cast<void>(hostCode); // its plans hold none
#endif
    loadPlugins(plugins, said);
    mEngine.reset(mRuntime->deserializeCudaEngine(plan.data(), plan.size()));
    if (mEngine == nullptr)
    {
        throw ArtifactError(said.words("refuses the plan"), "build it again on this machine: s2deploy build");
    }
}

void Deserialized::loadPlugins(std::vector<std::filesystem::path> const& plugins, Said& said)
{
    // TensorRT's own plugins keep the logger they are given, and do without one.
    if (!initLibNvInferPlugins(nullptr, ""))
    {
        throw said.failed("cannot register its own plugins");
    }
    for (std::filesystem::path const& path : plugins)
    {
#if NV_TENSORRT_MAJOR > 8 || NV_TENSORRT_MINOR >= 6
        bool const loaded = mRuntime->getPluginRegistry().loadLibrary(path.c_str()) != nullptr;
        std::string const reason = loaded ? "" : said.words("refuses it");
#else
        // It registers its creators with TensorRT's registry when it is loaded, which then refers to it for good.
        bool const loaded = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr;
        std::string const reason = loaded ? "" : dlerror();
#endif
        if (!loaded)
        {
            throw ArtifactError("the plugin library " + path.string() + " cannot be loaded: " + reason,
                "build it for TensorRT " + libraryVersion() + " of this machine");
        }
    }
}

DataType dataTypeOf(nvinfer1::ICudaEngine const& engine, std::string const& name)
{
    switch (engine.getTensorDataType(name.c_str()))
    {
    case nvinfer1::DataType::kFLOAT: return DataType::kFLOAT32;
    case nvinfer1::DataType::kHALF: return DataType::kFLOAT16;
    case nvinfer1::DataType::kINT32: return DataType::kINT32;
    case nvinfer1::DataType::kINT8: return DataType::kINT8;
    case nvinfer1::DataType::kUINT8: return DataType::kUINT8;
    case nvinfer1::DataType::kBOOL: return DataType::kBOOL;
#if NV_TENSORRT_MAJOR >= 9
    case nvinfer1::DataType::kBF16: return DataType::kBFLOAT16;
    case nvinfer1::DataType::kINT64: return DataType::kINT64;
#endif
    default:
        throw ArtifactError("'" + name + "' of the plan has a type that no buffer can have here",
            "export the model with float32 or float16 inputs and outputs");
    }
}

Shape toShape(nvinfer1::Dims const& dims)
{
    return {dims.d, dims.d + std::max(dims.nbDims, 0)};
}

nvinfer1::Dims toDims(Shape const& shape)
{
    nvinfer1::Dims dims{};
    if (shape.size() > static_cast<std::size_t>(nvinfer1::Dims::MAX_DIMS))
    {
        throw UsageError("a shape has " + std::to_string(shape.size()) + " axes, TensorRT takes "
                + std::to_string(nvinfer1::Dims::MAX_DIMS),
            "give as many as the engine's input has");
    }
    dims.nbDims = static_cast<int32_t>(shape.size());
    using Size = std::remove_reference_t<decltype(dims.d[0])>;
    std::transform(
        shape.begin(), shape.end(), dims.d, [](std::int64_t size) { return static_cast<Size>(size); });
    return dims;
}

OutputMemory::OutputMemory(std::function<void*(std::size_t)> reserve)
    : mReserve(std::move(reserve))
{
}

#if NV_TENSORRT_MAJOR >= 10
void* OutputMemory::reallocateOutputAsync(
    char const*, void*, uint64_t sizeBytes, uint64_t, cudaStream_t) noexcept
#else
void* OutputMemory::reallocateOutput(char const*, void*, uint64_t sizeBytes, uint64_t) noexcept
#endif
{
    return reserve(sizeBytes);
}

void OutputMemory::notifyShape(char const*, nvinfer1::Dims const& dims) noexcept
{
    shape = toShape(dims);
}

void* OutputMemory::reserve(std::size_t sizeBytes) noexcept
try
{
    return mReserve(sizeBytes);
}
catch (std::exception const&)
{
    return nullptr; // TensorRT takes that as "no memory" and fails the run
}

} // namespace s2deploy
