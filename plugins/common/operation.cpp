#include "operation.h"

#include "report.h"

#include <stdexcept>
#include <string>
#include <utility>

namespace s2deploy
{
namespace
{
constexpr int32_t kRANK = 4;

bool isFloatingPoint(nvinfer1::DataType type)
{
#if NV_TENSORRT_MAJOR >= 9
    if (type == nvinfer1::DataType::kBF16)
    {
        return true;
    }
#endif
    return type == nvinfer1::DataType::kFLOAT || type == nvinfer1::DataType::kHALF;
}
} // namespace

Operation::Operation(Attributes attributes)
    : mAttributes(std::move(attributes))
{
    mAttributes.check();
    buildShiftTable(mAttributes.groups.data(), static_cast<int32_t>(mAttributes.groups.size()), mTable);
}

void Operation::checkInputShape(nvinfer1::Dims const& x) const
{
    if (x.nbDims != kRANK)
    {
        throw std::invalid_argument("the input has " + std::to_string(x.nbDims) + " axes, not 4");
    }
    int64_t const channels = x.d[channelAxis()];
    int32_t const last = mAttributes.groups[mAttributes.groups.size() - 3];
    if (channels >= 0 && (channels < last || channels % mAttributes.branches != 0))
    {
        throw std::invalid_argument("the input has " + std::to_string(channels) + " channels, the groups end at "
            + std::to_string(last) + " and there are " + std::to_string(mAttributes.branches)
            + " branches: check channels_last");
    }
}

bool Operation::supports(
    int32_t position, nvinfer1::PluginTensorDesc const* inOut, int32_t inputCount, int32_t outputCount) const
{
    if (inputCount != inputs() || outputCount != 1 || position < 0 || position > inputCount)
    {
        throw std::invalid_argument("asked for tensor " + std::to_string(position) + " of "
            + std::to_string(inputCount) + " inputs and " + std::to_string(outputCount) + " outputs");
    }
    nvinfer1::DataType const first = inOut[0].type;
    nvinfer1::DataType const expected = position == inputCount ? outputType(first) : first;
    return inOut[position].format == nvinfer1::TensorFormat::kLINEAR && isFloatingPoint(first)
        && inOut[position].type == expected;
}

int32_t Operation::channelAxis() const
{
    return mAttributes.channelsLast != 0 ? 3 : 1;
}

nvinfer1::IDimensionExpr const* Operation::branchChannels(
    nvinfer1::DimsExprs const& x, nvinfer1::IExprBuilder& builder) const
{
    nvinfer1::IDimensionExpr const* const branches = builder.constant(mAttributes.branches);
    nvinfer1::IDimensionExpr const* const channels
        = builder.operation(nvinfer1::DimensionOperation::kFLOOR_DIV, *x.d[channelAxis()], *branches);
    if (channels == nullptr)
    {
        throw std::runtime_error("TensorRT has no expression for the channels of a branch");
    }
    return channels;
}

FeatureShape Operation::shapeOf(nvinfer1::PluginTensorDesc const& x) const
{
    checkInputShape(x.dims);
    bool const last = mAttributes.channelsLast != 0;
    int64_t const channels = x.dims.d[channelAxis()];
    int64_t const height = x.dims.d[last ? 1 : 2];
    int64_t const width = x.dims.d[last ? 2 : 3];
    if (channels > kMAX_EXTENT || height > kMAX_EXTENT || width > kMAX_EXTENT)
    {
        throw std::invalid_argument("an axis is longer than 1073741824");
    }
    return FeatureShape{x.dims.d[0], static_cast<int32_t>(channels), static_cast<int32_t>(height),
        static_cast<int32_t>(width), mAttributes.layout()};
}

int32_t runOperation(Operation const& operation, Execution const& execution) noexcept
{
    return guarded(operation.name(), -1, [&] {
        cudaError_t const status = operation.enqueue(execution);
        if (status != cudaSuccess)
        {
            throw std::runtime_error(std::string("the launch failed: ") + cudaGetErrorString(status));
        }
        return 0;
    });
}

nvinfer1::Dims knownDims(nvinfer1::DimsExprs const& dims)
{
    nvinfer1::Dims known{};
    known.nbDims = dims.nbDims;
    for (int32_t axis = 0; axis < dims.nbDims; ++axis)
    {
        bool const isKnown = dims.d[axis] != nullptr && dims.d[axis]->isConstant();
        known.d[axis] = isKnown ? dims.d[axis]->getConstantValue() : -1;
    }
    return known;
}

ElementType elementType(nvinfer1::DataType type)
{
#if NV_TENSORRT_MAJOR >= 9
    if (type == nvinfer1::DataType::kBF16)
    {
        return ElementType::kBFLOAT16;
    }
#endif
    if (!isFloatingPoint(type))
    {
        throw std::invalid_argument("type " + std::to_string(static_cast<int32_t>(type)) + " is not supported");
    }
    return type == nvinfer1::DataType::kHALF ? ElementType::kFLOAT16 : ElementType::kFLOAT32;
}

} // namespace s2deploy
