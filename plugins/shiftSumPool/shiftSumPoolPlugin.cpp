#include "shiftSumPoolPlugin.h"

#include "shiftSumPoolKernel.h"

namespace s2deploy
{

char const* ShiftSumPool::name() const
{
    return kNAME;
}

AttributeSet ShiftSumPool::attributeSet() const
{
    return kATTRIBUTES;
}

int32_t ShiftSumPool::inputs() const
{
    return 1;
}

std::unique_ptr<Operation> ShiftSumPool::clone() const
{
    return std::make_unique<ShiftSumPool>(*this);
}

nvinfer1::DimsExprs ShiftSumPool::outputShape(nvinfer1::DimsExprs const* inputs, nvinfer1::IExprBuilder& builder) const
{
    nvinfer1::DimsExprs shape{};
    shape.nbDims = 2;
    shape.d[0] = inputs[0].d[0];
    shape.d[1] = branchChannels(inputs[0], builder);
    return shape;
}

nvinfer1::DataType ShiftSumPool::outputType(nvinfer1::DataType /* inputType */) const
{
    return nvinfer1::DataType::kFLOAT;
}

size_t ShiftSumPool::workspaceBytes(nvinfer1::Dims const& x) const
{
    int64_t const channels = x.d[channelAxis()] / attributes().branches;
    return shiftSumPoolWorkspaceBytes(x.d[0], channels, attributes().layout());
}

cudaError_t ShiftSumPool::enqueue(Execution const& execution) const
{
    nvinfer1::PluginTensorDesc const& x = execution.inputDesc[0];
    return launchShiftSumPool(shapeOf(x), attributes().branches, elementType(x.type), table(), execution.inputs[0],
        static_cast<float*>(execution.outputs[0]), static_cast<float*>(execution.workspace), execution.stream);
}

} // namespace s2deploy
