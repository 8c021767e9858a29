#pragma once

#include "s2deploy/tensor.h"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

struct CUstream_st;

namespace s2deploy
{

//! The same type as cudaStream_t, so that these headers need no other.
using Stream = CUstream_st*;

//! Shapes one input can take in an optimization profile.
struct Range
{
    Shape min;
    Shape opt;
    Shape max;
};

//! Shapes of all inputs in one optimization profile, by name.
using Profile = std::map<std::string, Range>;

struct LoadOptions
{
    //! Number of the GPU, as CUDA_VISIBLE_DEVICES leaves it.
    int device{0};
    //! Whether the SHA-256 of the plan is compared with the sidecar's. Sizes and plugin libraries always are.
    bool verifyHash{false};
    //! Whether the kernels of each shape are captured as a CUDA graph at its first call and launched as one from then
    //! on. It helps where many small kernels run; every buffer on the device is copied then. The graphs of the 8 shapes
    //! used last are kept for each thread; one with dynamic shapes on a TensorRT before 10.
    bool cudaGraphs{false};
    //! Whether a plan may be loaded without its sidecar, unchecked. A plan is a program: do so only with your own.
    bool unchecked{false};
};

//! A plan on TensorRT, checked against its sidecar `model.plan.json` before TensorRT reads a byte of it.
//!
//! All functions may be called from several threads at once: each has an execution context with a stream of its own
//! meanwhile. (One for all threads where a TensorRT before 10 runs an engine of dynamic shapes, because contexts cannot
//! share its optimization profiles.)
class Engine
{
public:
    //! Loads a plan, and the plugin libraries that its sidecar lists.
    //!
    //! \throws ArtifactError The plan, its sidecar or a plugin library is missing, damaged or not what belongs together.
    //! \throws TargetUnavailableError This machine's TensorRT or GPU is not one the plan was built for.
    //! \throws Error TensorRT or CUDA failed.
    [[nodiscard]] static Engine load(std::filesystem::path const& plan, LoadOptions const& options = {});

    Engine(Engine&& other) noexcept;
    Engine& operator=(Engine&& other) noexcept;

    //! Waits for the work under way.
    ~Engine();

    //! Inputs, in the engine's order.
    std::vector<TensorInfo> const& inputs() const noexcept;

    //! Outputs, in the engine's order.
    std::vector<TensorInfo> const& outputs() const noexcept;

    //! Optimization profiles, in the engine's order; one of fixed shapes where all are.
    std::vector<Profile> const& profiles() const noexcept;

    //! TensorRT's version and the GPU.
    std::string const& backend() const noexcept;

    //! What is worth knowing about how the plan was loaded; empty where nothing is.
    std::vector<std::string> const& remarks() const noexcept;

    //! The profile tuned for shapes nearest to these, among those that take them; what run() uses.
    //!
    //! \throws UsageError None takes them.
    std::size_t chooseProfile(Shapes const& inputs) const;

    //! The shapes of the outputs for inputs of these shapes; -1 where the values decide.
    //!
    //! \throws UsageError No optimization profile takes them.
    Shapes outputShapes(Shapes const& inputs) const;

    //! Runs the engine and waits for it.
    //!
    //! \param inputs One per input, by name. What lies on the device must be there when this is called.
    //! \return The outputs by name.
    //!
    //! \throws UsageError A name, type or shape does not fit.
    //! \throws Error TensorRT or CUDA failed.
    Tensors run(Inputs const& inputs) const;

    //! Runs the engine in the order of a stream, and does not wait for it.
    //!
    //! Buffers on the device that are aligned to 256 bytes are used in place. Buffers on the host are copied; pinned
    //! ones (cudaMallocHost) overlap with other work. All of them must stay until the stream has got there.
    //!
    //! \param inputs One per input, by name.
    //! \param outputs One per output, by name, large enough; outputShapes() tells.
    //! \param stream What is in it already comes before the run; what is given to it later comes after.
    //! \return The shapes of the outputs.
    //!
    //! \throws UsageError A name, type, shape or size does not fit, or the values decide the shape of an output.
    //! \throws Error TensorRT or CUDA failed.
    Shapes run(Inputs const& inputs, Outputs const& outputs, Stream stream) const;

private:
    class Impl;
    explicit Engine(std::unique_ptr<Impl> impl) noexcept;
    std::unique_ptr<Impl> mImpl;
};

} // namespace s2deploy
