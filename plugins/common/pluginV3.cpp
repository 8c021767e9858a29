#include "tensorRt.h"

#if S2_PLUGIN_V3

#include "pluginV3.h"

#include "report.h"

#include <stdexcept>
#include <utility>

namespace s2deploy
{
namespace
{
constexpr int32_t kFAILURE = -1;

void checkCounts(Operation const& operation, int32_t inputs, int32_t outputs)
{
    if (inputs != operation.inputs() || outputs != 1)
    {
        throw std::invalid_argument(std::to_string(inputs) + " inputs and " + std::to_string(outputs)
            + " outputs, not " + std::to_string(operation.inputs()) + " and 1");
    }
}
} // namespace

PluginV3::PluginV3(std::unique_ptr<Operation> operation)
    : mOperation(std::move(operation))
    , mFields(serializedFields(mOperation->attributes(), mOperation->attributeSet()))
    , mFieldCollection{static_cast<int32_t>(mFields.size()), mFields.data()}
{
}

nvinfer1::IPluginCapability* PluginV3::getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept
{
    switch (type)
    {
    case nvinfer1::PluginCapabilityType::kCORE: return static_cast<nvinfer1::IPluginV3OneCore*>(this);
    case nvinfer1::PluginCapabilityType::kBUILD: return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
    case nvinfer1::PluginCapabilityType::kRUNTIME: return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
    }
    return nullptr;
}

nvinfer1::IPluginV3* PluginV3::clone() noexcept
{
    return guarded<nvinfer1::IPluginV3*>(
        getPluginName(), nullptr, [this] { return new PluginV3(mOperation->clone()); });
}

char const* PluginV3::getPluginName() const noexcept
{
    return mOperation->name();
}

char const* PluginV3::getPluginVersion() const noexcept
{
    return kVERSION;
}

char const* PluginV3::getPluginNamespace() const noexcept
{
    return kNAMESPACE;
}

int32_t PluginV3::configurePlugin(nvinfer1::DynamicPluginTensorDesc const* in, int32_t nbInputs,
    nvinfer1::DynamicPluginTensorDesc const* /* out */, int32_t nbOutputs) noexcept
{
    return guarded(getPluginName(), kFAILURE, [&] {
        checkCounts(*mOperation, nbInputs, nbOutputs);
        mOperation->checkInputShape(in[0].desc.dims);
        return 0;
    });
}

int32_t PluginV3::getOutputDataTypes(nvinfer1::DataType* outputTypes, int32_t nbOutputs,
    nvinfer1::DataType const* inputTypes, int32_t nbInputs) const noexcept
{
    return guarded(getPluginName(), kFAILURE, [&] {
        checkCounts(*mOperation, nbInputs, nbOutputs);
        outputTypes[0] = mOperation->outputType(inputTypes[0]);
        return 0;
    });
}

int32_t PluginV3::getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t nbInputs,
    nvinfer1::DimsExprs const* /* shapeInputs */, int32_t /* nbShapeInputs */, nvinfer1::DimsExprs* outputs,
    int32_t nbOutputs, nvinfer1::IExprBuilder& exprBuilder) noexcept
{
    return guarded(getPluginName(), kFAILURE, [&] {
        checkCounts(*mOperation, nbInputs, nbOutputs);
        mOperation->checkInputShape(knownDims(inputs[0]));
        outputs[0] = mOperation->outputShape(inputs, exprBuilder);
        return 0;
    });
}

bool PluginV3::supportsFormatCombination(
    int32_t pos, nvinfer1::DynamicPluginTensorDesc const* inOut, int32_t nbInputs, int32_t nbOutputs) noexcept
{
    return guarded(getPluginName(), false, [&] {
        std::vector<nvinfer1::PluginTensorDesc> descriptions;
        for (int32_t at = 0; at < nbInputs + nbOutputs; ++at)
        {
            descriptions.push_back(inOut[at].desc);
        }
        return mOperation->supports(pos, descriptions.data(), nbInputs, nbOutputs);
    });
}

int32_t PluginV3::getNbOutputs() const noexcept
{
    return 1;
}

size_t PluginV3::getWorkspaceSize(nvinfer1::DynamicPluginTensorDesc const* inputs, int32_t /* nbInputs */,
    nvinfer1::DynamicPluginTensorDesc const* /* outputs */, int32_t /* nbOutputs */) const noexcept
{
    return guarded(getPluginName(), size_t{0}, [&] { return mOperation->workspaceBytes(inputs[0].max); });
}

int32_t PluginV3::onShapeChange(nvinfer1::PluginTensorDesc const* in, int32_t nbInputs,
    nvinfer1::PluginTensorDesc const* /* out */, int32_t nbOutputs) noexcept
{
    return guarded(getPluginName(), kFAILURE, [&] {
        checkCounts(*mOperation, nbInputs, nbOutputs);
        mOperation->checkInputShape(in[0].dims);
        return 0;
    });
}

int32_t PluginV3::enqueue(nvinfer1::PluginTensorDesc const* inputDesc, nvinfer1::PluginTensorDesc const* outputDesc,
    void const* const* inputs, void* const* outputs, void* workspace, cudaStream_t stream) noexcept
{
    return runOperation(*mOperation, Execution{inputDesc, outputDesc, inputs, outputs, workspace, stream});
}

nvinfer1::IPluginV3* PluginV3::attachToContext(nvinfer1::IPluginResourceContext* /* context */) noexcept
{
    return clone();
}

nvinfer1::PluginFieldCollection const* PluginV3::getFieldsToSerialize() noexcept
{
    return &mFieldCollection;
}

PluginCreatorV3::PluginCreatorV3(OperationKind const& kind)
    : mKind(kind)
{
}

nvinfer1::IPluginV3* PluginCreatorV3::createPlugin(char const* /* name */, nvinfer1::PluginFieldCollection const* fc,
    nvinfer1::TensorRTPhase phase) noexcept
{
    return guarded<nvinfer1::IPluginV3*>(mKind.name, nullptr, [&] {
        if (fc == nullptr)
        {
            throw std::invalid_argument("no fields were passed");
        }
        bool const fromPlan = phase == nvinfer1::TensorRTPhase::kRUNTIME;
        return new PluginV3(mKind.create(
            fromPlan ? readSerializedFields(*fc, mKind.attributeSet) : readFields(*fc, mKind.attributeSet)));
    });
}

nvinfer1::PluginFieldCollection const* PluginCreatorV3::getFieldNames() noexcept
{
    return guarded<nvinfer1::PluginFieldCollection const*>(
        mKind.name, nullptr, [this] { return &announcedFields(mKind.attributeSet); });
}

char const* PluginCreatorV3::getPluginName() const noexcept
{
    return mKind.name;
}

char const* PluginCreatorV3::getPluginVersion() const noexcept
{
    return kVERSION;
}

char const* PluginCreatorV3::getPluginNamespace() const noexcept
{
    return kNAMESPACE;
}

} // namespace s2deploy

#endif // S2_PLUGIN_V3
