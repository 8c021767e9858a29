#include "shiftSumPlugin.h"

#include "shiftSumKernel.h"

#include <stdexcept>

namespace s2deploy
{

char const* ShiftSum::name() const
{
    return kNAME;
}

AttributeSet ShiftSum::attributeSet() const
{
    return kATTRIBUTES;
}

int32_t ShiftSum::inputs() const
{
    return 2;
}

std::unique_ptr<Operation> ShiftSum::clone() const
{
    return std::make_unique<ShiftSum>(*this);
}

nvinfer1::DimsExprs ShiftSum::outputShape(nvinfer1::DimsExprs const* inputs, nvinfer1::IExprBuilder& builder) const
{
    nvinfer1::DimsExprs shape = inputs[0];
    shape.d[channelAxis()] = branchChannels(inputs[0], builder);
    return shape;
}

nvinfer1::DataType ShiftSum::outputType(nvinfer1::DataType inputType) const
{
    return inputType;
}

size_t ShiftSum::workspaceBytes(nvinfer1::Dims const& /* x */) const
{
    return 0;
}

cudaError_t ShiftSum::enqueue(Execution const& execution) const
{
    nvinfer1::PluginTensorDesc const& x = execution.inputDesc[0];
    FeatureShape const shape = shapeOf(x);
    int32_t const branches = attributes().branches;
    nvinfer1::Dims const& weights = execution.inputDesc[1].dims;
    if (weights.nbDims != 3 || weights.d[0] != shape.batch || weights.d[1] != branches
        || weights.d[2] != shape.channels / branches)
    {
        throw std::invalid_argument("the weights are not of N x branches x C");
    }
    return launchShiftSum(shape, branches, elementType(x.type), table(), execution.inputs[0], execution.inputs[1],
        execution.outputs[0], execution.stream);
}

} // namespace s2deploy
