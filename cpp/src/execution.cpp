#include "execution.h"

#include "profiles.h"

#include <cstdint>

namespace s2deploy
{
namespace
{

//! TensorRT may read and write whole vectors of this many bytes.
constexpr std::uintptr_t kALIGNMENT_BYTES = 256;

bool isAligned(void const* address) noexcept
{
    return address != nullptr && reinterpret_cast<std::uintptr_t>(address) % kALIGNMENT_BYTES == 0;
}

void copy(void* to, void const* from, std::size_t sizeBytes, cudaMemcpyKind kind, cudaStream_t stream)
{
    if (sizeBytes > 0)
    {
        check(cudaMemcpyAsync(to, from, sizeBytes, kind, stream), "cudaMemcpyAsync");
    }
}

} // namespace

Execution::Execution(Parts const& parts, bool graphs)
    : mParts(parts)
    , mGraphs(graphs)
{
    Said said;
    mContext.reset(parts.engine.createExecutionContext());
    if (mContext == nullptr)
    {
        throw said.failed("cannot make an execution context");
    }
}

Shapes Execution::outputShapes(std::size_t profile, Shapes const& inputs)
{
    Said said;
    prepare(profile, inputs, said);
    Shapes shapes;
    for (TensorInfo const& info : mParts.outputs)
    {
        shapes[info.name] = shapeOf(info.name);
    }
    return shapes;
}

Tensors Execution::run(std::size_t profile, Inputs const& inputs)
{
    Said said;
    prepare(profile, shapesOf(inputs), said);
    for (auto const& [name, input] : inputs)
    {
        readFrom(name, input, said);
    }
    Tensors outputs;
    for (TensorInfo const& info : mParts.outputs)
    {
        Tensor& tensor = outputs[info.name];
        tensor.type = info.type;
        tensor.shape = shapeOf(info.name);
        if (isDynamic(tensor.shape))
        {
            askForMemory(info.name, said);
        }
        else
        {
            writeTo(info.name, mBuffers[info.name].reserve(bytesOf(info.type, tensor.shape)), said);
        }
    }
    launch(said);
    for (auto& [name, tensor] : outputs)
    {
        if (isDynamic(tensor.shape))
        {
            auto const& known = mOutputMemory.at(name).shape;
            if (!known)
            {
                throw said.failed("did not say the shape of output '" + name + "'");
            }
            tensor.shape = *known;
        }
        tensor.bytes.resize(bytesOf(tensor.type, tensor.shape));
        copy(tensor.bytes.data(), mBuffers[name].get(), tensor.bytes.size(), cudaMemcpyDeviceToHost, mStream.get());
    }
    mStream.synchronize();
    return outputs;
}

Shapes Execution::run(std::size_t profile, Inputs const& inputs, Outputs const& outputs, cudaStream_t outer)
{
    Said said;
    prepare(profile, shapesOf(inputs), said);
    Shapes shapes;
    for (TensorInfo const& info : mParts.outputs)
    {
        Shape const& shape = shapes[info.name] = shapeOf(info.name);
        if (isDynamic(shape))
        {
            throw UsageError("the values decide the shape of output '" + info.name + "'",
                "call run(inputs), which returns it in memory of its own");
        }
        Output const& output = outputs.at(info.name);
        std::size_t const needed = bytesOf(info.type, shape);
        if (output.sizeBytes < needed || (output.data == nullptr && needed > 0))
        {
            throw UsageError("output '" + info.name + "' needs " + std::to_string(needed) + " bytes for "
                    + toString(shape) + ", it is given "
                    + std::to_string(output.data == nullptr ? 0 : output.sizeBytes),
                "give as much memory as outputShapes() tells");
        }
    }
    mOrder.put(outer, mStream.get());
    for (auto const& [name, input] : inputs)
    {
        readFrom(name, input, said);
    }
    std::map<std::string, std::size_t> copies;
    for (TensorInfo const& info : mParts.outputs)
    {
        Output const& output = outputs.at(info.name);
        std::size_t const needed = bytesOf(info.type, shapes.at(info.name));
        if (output.memory == Memory::kDEVICE && !mGraphs && isAligned(output.data))
        {
            writeTo(info.name, output.data, said);
            continue;
        }
        writeTo(info.name, mBuffers[info.name].reserve(needed), said);
        copies[info.name] = needed;
    }
    launch(said);
    for (auto const& [name, sizeBytes] : copies)
    {
        Output const& output = outputs.at(name);
        auto const kind = output.memory == Memory::kHOST ? cudaMemcpyDeviceToHost : cudaMemcpyDeviceToDevice;
        copy(output.data, mBuffers[name].get(), sizeBytes, kind, mStream.get());
    }
    mOrder.put(mStream.get(), outer);
    return shapes;
}

//! Tells the context the shapes, unless it has them.
void Execution::prepare(std::size_t profile, Shapes const& shapes, Said& said)
{
    std::pair<std::size_t, Shapes> wanted{profile, shapes};
    if (mPrepared == wanted)
    {
        return;
    }
    mPrepared.reset();
    auto const index = static_cast<int32_t>(profile);
    if (mContext->getOptimizationProfile() != index
        && !mContext->setOptimizationProfileAsync(index, mStream.get()))
    {
        throw said.failed("cannot use optimization profile " + std::to_string(profile));
    }
    for (auto const& [name, shape] : shapes)
    {
        if (!mContext->setInputShape(name.c_str(), toDims(shape)))
        {
            throw said.failed("refuses the shape " + toString(shape) + " for input '" + name + "'");
        }
    }
    if (mContext->inferShapes(0, nullptr) != 0)
    {
        throw said.failed("cannot tell the shapes of the outputs");
    }
    mPrepared = std::move(wanted);
}

//! Sets where the engine reads an input: in place where it can be, or else in our buffer.
void Execution::readFrom(std::string const& name, Input const& input, Said& said)
{
    void* address = const_cast<void*>(input.data); // the name says which way it goes
    if (input.memory == Memory::kHOST || mGraphs || !isAligned(input.data))
    {
        std::size_t const sizeBytes = bytesOf(input.type, input.shape);
        auto const kind = input.memory == Memory::kHOST ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToDevice;
        address = mBuffers[name].reserve(sizeBytes);
        copy(address, input.data, sizeBytes, kind, mStream.get());
    }
    writeTo(name, address, said);
}

void Execution::writeTo(std::string const& name, void* address, Said& said)
{
    if (!mContext->setTensorAddress(name.c_str(), address))
    {
        throw said.failed("refuses the memory of '" + name + "'");
    }
}

//! Lets TensorRT ask for an output's memory once it knows the shape.
void Execution::askForMemory(std::string const& name, Said& said)
{
    auto known = mOutputMemory.find(name);
    if (known == mOutputMemory.end())
    {
        DeviceBuffer& buffer = mBuffers[name];
        known = mOutputMemory
                    .try_emplace(name, [&buffer](std::size_t sizeBytes) { return buffer.reserve(sizeBytes); })
                    .first;
        if (!mContext->setOutputAllocator(name.c_str(), &known->second))
        {
            throw said.failed("takes no allocator for output '" + name + "'");
        }
    }
    known->second.shape.reset();
    writeTo(name, mBuffers[name].reserve(0), said);
}

void Execution::launch(Said& said)
{
    auto const enqueue = [this] { return mContext->enqueueV3(mStream.get()); };
    if (mGraph)
    {
        mGraph.launch(mStream.get());
        return;
    }
    if (!enqueue())
    {
        throw said.failed("failed to run");
    }
    // Captured after a first run, which readied the context for these shapes. What cannot be captured runs without.
    mGraphs = mGraphs && mOutputMemory.empty() && mGraph.capture(mStream.get(), enqueue);
}

Shape Execution::shapeOf(std::string const& name) const
{
    return toShape(mContext->getTensorShape(name.c_str()));
}

Shapes shapesOf(Inputs const& inputs)
{
    Shapes shapes;
    for (auto const& [name, input] : inputs)
    {
        shapes[name] = input.shape;
    }
    return shapes;
}

std::size_t bytesOf(DataType type, Shape const& shape) noexcept
{
    return elementsOf(shape) * sizeOf(type);
}

} // namespace s2deploy
