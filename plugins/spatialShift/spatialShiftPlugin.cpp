#include "spatialShiftPlugin.h"

#include "spatialShiftKernel.h"

namespace s2deploy
{

char const* SpatialShift::name() const
{
    return kNAME;
}

AttributeSet SpatialShift::attributeSet() const
{
    return kATTRIBUTES;
}

int32_t SpatialShift::inputs() const
{
    return 1;
}

std::unique_ptr<Operation> SpatialShift::clone() const
{
    return std::make_unique<SpatialShift>(*this);
}

nvinfer1::DimsExprs SpatialShift::outputShape(
    nvinfer1::DimsExprs const* inputs, nvinfer1::IExprBuilder& /* builder */) const
{
    return inputs[0];
}

nvinfer1::DataType SpatialShift::outputType(nvinfer1::DataType inputType) const
{
    return inputType;
}

size_t SpatialShift::workspaceBytes(nvinfer1::Dims const& /* x */) const
{
    return 0;
}

cudaError_t SpatialShift::enqueue(Execution const& execution) const
{
    nvinfer1::PluginTensorDesc const& x = execution.inputDesc[0];
    return launchSpatialShift(shapeOf(x), elementType(x.type), table(), static_cast<Border>(attributes().border),
        execution.inputs[0], execution.outputs[0], execution.stream);
}

} // namespace s2deploy
