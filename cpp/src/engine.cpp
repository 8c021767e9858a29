#include "s2deploy/engine.h"

#include "admission.h"
#include "binding.h"
#include "lanes.h"
#include "library.h"
#include "profiles.h"

#include <algorithm>
#include <type_traits>

namespace s2deploy
{
namespace
{

static_assert(std::is_same_v<Stream, cudaStream_t>);

//! What the checks before loading found out.
struct Admitted
{
    std::vector<char> bytes;
    bool hostCode{};
    std::vector<std::filesystem::path> plugins;
    std::vector<std::string> remarks;
};

Admitted admit(std::filesystem::path const& plan, LoadOptions const& options, Gpu const& gpu)
{
    if (!std::filesystem::is_regular_file(plan))
    {
        throw UsageError(plan.string() + ": no such file", "give a plan of s2deploy build");
    }
    if (options.unchecked)
    {
        return {readFile(plan), false, {}, {}};
    }
    Sidecar const sidecar = readSidecar(plan);
    checkTarget(plan, sidecar);
    checkVersion(plan, sidecar, libraryVersion());
    checkDevice(plan, sidecar, gpu);
    Admitted admitted{readFile(plan), sidecar.versionCompatible, checkPlugins(plan, sidecar), {}};
    checkBytes(plan, sidecar, admitted.bytes, options.verifyHash);
    if (sidecar.device && sidecar.device->name != gpu.name)
    {
        admitted.remarks.push_back("the plan was built and tuned on " + sidecar.device->name + "; on " + gpu.name
            + " it may be slower");
    }
    return admitted;
}

std::vector<TensorInfo> describe(nvinfer1::ICudaEngine const& engine, nvinfer1::TensorIOMode mode)
{
    std::vector<TensorInfo> tensors;
    for (int32_t index = 0; index < engine.getNbIOTensors(); ++index)
    {
        char const* const name = engine.getIOTensorName(index);
        if (engine.getTensorIOMode(name) != mode)
        {
            continue;
        }
        if (engine.getTensorLocation(name) == nvinfer1::TensorLocation::kHOST)
        {
            throw ArtifactError(std::string("'") + name
                    + "' of the plan holds sizes, which TensorRT reads or writes on the processor",
                "export the model with these sizes as constants, or taken from the shape of another input");
        }
        if (engine.getTensorFormat(name) != nvinfer1::TensorFormat::kLINEAR)
        {
            throw ArtifactError(std::string("'") + name + "' of the plan is not in C order: "
                    + engine.getTensorFormatDesc(name),
                "build the plan with linear inputs and outputs, as s2deploy build does");
        }
        tensors.push_back({name, dataTypeOf(engine, name), toShape(engine.getTensorShape(name))});
    }
    return tensors;
}

bool anyDynamic(std::vector<TensorInfo> const& tensors)
{
    return std::any_of(tensors.begin(), tensors.end(), [](TensorInfo const& info) { return isDynamic(info.shape); });
}

} // namespace

class Engine::Impl
{
public:
    Impl(Admitted const& admitted, Gpu const& gpu, bool graphs)
        : mGpu(gpu)
        , mDeserialized(admitted.bytes, admitted.hostCode, admitted.plugins)
        , mInputs(describe(mDeserialized.engine(), nvinfer1::TensorIOMode::kINPUT))
        , mOutputs(describe(mDeserialized.engine(), nvinfer1::TensorIOMode::kOUTPUT))
        , mProfiles(profilesOf(mDeserialized.engine(), mInputs))
        , mBackend("TensorRT " + libraryVersion() + ", " + gpu.name)
        , mRemarks(admitted.remarks)
        , mLanes({mDeserialized.engine(), mInputs, mOutputs}, graphs, profilesAreExclusive() && anyDynamic(mInputs))
    {
    }

    Gpu const mGpu;
    // Freed in the opposite order: contexts before their engine.
    Deserialized const mDeserialized;
    std::vector<TensorInfo> const mInputs;
    std::vector<TensorInfo> const mOutputs;
    std::vector<Profile> const mProfiles;
    std::string const mBackend;
    std::vector<std::string> const mRemarks;
    Lanes mLanes;
};

Engine::Engine(std::unique_ptr<Impl> impl) noexcept
    : mImpl(std::move(impl))
{
}

Engine::Engine(Engine&& other) noexcept = default;

Engine& Engine::operator=(Engine&& other) noexcept
{
    std::swap(mImpl, other.mImpl);
    return *this;
}

Engine::~Engine()
try
{
    if (mImpl != nullptr)
    {
        ActiveGpu const active(mImpl->mGpu.ordinal);
        mImpl.reset();
    }
}
catch (Error const&) // CUDA has failed for good, or has gone before us at the end of the process
{
}

Engine Engine::load(std::filesystem::path const& plan, LoadOptions const& options)
{
    Gpu const gpu = findGpu(options.device);
    Admitted const admitted = admit(plan, options, gpu);
    ActiveGpu const active(gpu.ordinal);
    return Engine(std::make_unique<Impl>(admitted, gpu, options.cudaGraphs));
}

std::vector<TensorInfo> const& Engine::inputs() const noexcept
{
    return mImpl->mInputs;
}

std::vector<TensorInfo> const& Engine::outputs() const noexcept
{
    return mImpl->mOutputs;
}

std::vector<Profile> const& Engine::profiles() const noexcept
{
    return mImpl->mProfiles;
}

std::string const& Engine::backend() const noexcept
{
    return mImpl->mBackend;
}

std::vector<std::string> const& Engine::remarks() const noexcept
{
    return mImpl->mRemarks;
}

std::size_t Engine::chooseProfile(Shapes const& inputs) const
{
    checkShapes(inputs, mImpl->mInputs);
    return nearestProfile(mImpl->mProfiles, inputs);
}

Shapes Engine::outputShapes(Shapes const& inputs) const
{
    std::size_t const profile = chooseProfile(inputs);
    ActiveGpu const active(mImpl->mGpu.ordinal);
    Lanes::Borrowed const lane(mImpl->mLanes, nullptr);
    return lane->execution(profile, inputs).outputShapes(profile, inputs);
}

Tensors Engine::run(Inputs const& inputs) const
{
    checkInputs(inputs, mImpl->mInputs);
    Shapes const shapes = shapesOf(inputs);
    std::size_t const profile = nearestProfile(mImpl->mProfiles, shapes);
    ActiveGpu const active(mImpl->mGpu.ordinal);
    Lanes::Borrowed const lane(mImpl->mLanes, nullptr);
    return lane->execution(profile, shapes).run(profile, inputs);
}

Shapes Engine::run(Inputs const& inputs, Outputs const& outputs, Stream stream) const
{
    checkInputs(inputs, mImpl->mInputs);
    checkOutputs(outputs, mImpl->mOutputs);
    Shapes const shapes = shapesOf(inputs);
    std::size_t const profile = nearestProfile(mImpl->mProfiles, shapes);
    ActiveGpu const active(mImpl->mGpu.ordinal);
    Lanes::Borrowed const lane(mImpl->mLanes, stream);
    return lane->execution(profile, shapes).run(profile, inputs, outputs, stream);
}

} // namespace s2deploy
