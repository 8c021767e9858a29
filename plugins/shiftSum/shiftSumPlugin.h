//! \file shiftSumPlugin.h
//! ShiftSum as TensorRT sees it: x of N x K C x H x W or N x H x W x K C and w of N x K x C to K times fewer channels.

#ifndef S2DEPLOY_SHIFT_SUM_PLUGIN_H
#define S2DEPLOY_SHIFT_SUM_PLUGIN_H

#include "operation.h"

namespace s2deploy
{

class ShiftSum final : public Operation
{
public:
    using Operation::Operation;

    static constexpr char const* kNAME = "ShiftSum";
    static constexpr AttributeSet kATTRIBUTES = AttributeSet::kBRANCHES;

    char const* name() const override;
    AttributeSet attributeSet() const override;
    int32_t inputs() const override;
    std::unique_ptr<Operation> clone() const override;
    nvinfer1::DimsExprs outputShape(
        nvinfer1::DimsExprs const* inputs, nvinfer1::IExprBuilder& builder) const override;
    nvinfer1::DataType outputType(nvinfer1::DataType inputType) const override;
    size_t workspaceBytes(nvinfer1::Dims const& x) const override;
    cudaError_t enqueue(Execution const& execution) const override;
};

} // namespace s2deploy

#endif // S2DEPLOY_SHIFT_SUM_PLUGIN_H
