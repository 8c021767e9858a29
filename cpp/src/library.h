#pragma once

#include "s2deploy/tensor.h"
#include "said.h"

#include <NvInferRuntime.h>

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

//! \file What differs between TensorRT 8.5, 8.6 to 9, 10 and 11 at run time, all of it.
//!
//! Tensors are addressed by name from 8.5 on, so running is the same everywhere:
//!
//!                                              8.5     8.6 to 9  10, 11
//!     host code in a plan can be let run       no      yes       yes
//!     plugin libraries are loaded by           dlopen  registry  registry
//!     contexts can share a profile             no      no        yes
//!     sizes have                               32 bit  32 bit    64 bit
//!     the library tells its build number       no      no        yes
//!     bfloat16 and int64                       no      from 9    yes
//!     an output's memory is asked for with     name    name      name and stream
//!
//! Source: the public headers of TensorRT 8.5, 8.6, 9.3, 10.0, 10.16 and 11.1.

namespace s2deploy
{

//! The version of the loaded library, which may be another than that of the headers: "8.5.3", "10.16.0.72".
std::string libraryVersion();

//! Whether an optimization profile of dynamic shapes serves one execution context at a time.
bool profilesAreExclusive();

//! A plan that was deserialized, with all it needs.
class Deserialized
{
public:
    //! \param hostCode Whether code for the processor inside the plan may run.
    //! \param plugins Libraries of plugins the plan needs.
    //! \throws ArtifactError TensorRT refuses the plan, or a plugin library cannot be loaded.
    Deserialized(std::vector<char> const& plan, bool hostCode, std::vector<std::filesystem::path> const& plugins);

    nvinfer1::ICudaEngine& engine() const noexcept
    {
        return *mEngine;
    }

private:
    void loadPlugins(std::vector<std::filesystem::path> const& plugins, Said& said);

    std::unique_ptr<nvinfer1::IRuntime> mRuntime;
    std::unique_ptr<nvinfer1::ICudaEngine> mEngine; // freed before the runtime
};

//! The type of a tensor of an engine.
//!
//! \throws ArtifactError It is one that no memory of ours holds.
DataType dataTypeOf(nvinfer1::ICudaEngine const& engine, std::string const& name);

Shape toShape(nvinfer1::Dims const& dims);

//! \throws UsageError There are more axes than TensorRT knows.
nvinfer1::Dims toDims(Shape const& shape);

//! Memory for an output whose shape the values decide.
class OutputMemory : public nvinfer1::IOutputAllocator
{
public:
    //! \param reserve Returns the address of memory of that many bytes.
    explicit OutputMemory(std::function<void*(std::size_t)> reserve);

    //! The shape of the last run; nothing before TensorRT knows it.
    std::optional<Shape> shape;

#if NV_TENSORRT_MAJOR >= 10
    void* reallocateOutputAsync(
        char const* name, void* memory, uint64_t sizeBytes, uint64_t alignment, cudaStream_t stream) noexcept override;
#else
    void* reallocateOutput(char const* name, void* memory, uint64_t sizeBytes, uint64_t alignment) noexcept override;
#endif
    void notifyShape(char const* name, nvinfer1::Dims const& dims) noexcept override;

private:
    void* reserve(std::size_t sizeBytes) noexcept;

    std::function<void*(std::size_t)> mReserve;
};

} // namespace s2deploy
