#pragma once

#include "device.h"
#include "library.h"
#include "s2deploy/engine.h"

#include <NvInferRuntime.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace s2deploy
{

//! What it takes to run an engine.
struct Parts
{
    nvinfer1::ICudaEngine& engine;
    std::vector<TensorInfo> const& inputs;
    std::vector<TensorInfo> const& outputs;
};

//! One execution context with its stream and buffers: inputs in, kernels, outputs out. It serves one thread at a time.
class Execution
{
public:
    //! \param graphs Whether the kernels are captured once as a CUDA graph and launched as one from then on. All calls
    //!     have the shapes of the first then, and buffers on the device are copied to where the graph uses them.
    //! \throws Error TensorRT cannot make the context.
    Execution(Parts const& parts, bool graphs);

    //! The shapes of the outputs; -1 where the values decide.
    Shapes outputShapes(std::size_t profile, Shapes const& inputs);

    //! Runs into memory of the host, and waits.
    Tensors run(std::size_t profile, Inputs const& inputs);

    //! Runs into the caller's memory, in the order of the caller's stream.
    Shapes run(std::size_t profile, Inputs const& inputs, Outputs const& outputs, cudaStream_t outer);

    //! Whether the work under way is over.
    bool isDone() const noexcept
    {
        return mStream.isDone();
    }

private:
    void prepare(std::size_t profile, Shapes const& shapes, Said& said);
    void readFrom(std::string const& name, Input const& input, Said& said);
    void writeTo(std::string const& name, void* address, Said& said);
    void askForMemory(std::string const& name, Said& said);
    void launch(Said& said);
    Shape shapeOf(std::string const& name) const;

    Parts const mParts;
    bool mGraphs;
    std::optional<std::pair<std::size_t, Shapes>> mPrepared;
    // Freed in the opposite order: the stream waits for its work, the graph and the context go before their memory.
    std::map<std::string, DeviceBuffer> mBuffers;
    std::map<std::string, OutputMemory> mOutputMemory;
    std::unique_ptr<nvinfer1::IExecutionContext> mContext;
    Graph mGraph;
    Order mOrder;
    OwnStream mStream;
};

//! The shapes of inputs.
Shapes shapesOf(Inputs const& inputs);

//! Bytes of a tensor.
std::size_t bytesOf(DataType type, Shape const& shape) noexcept;

} // namespace s2deploy
