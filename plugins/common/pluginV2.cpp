#include "tensorRt.h"

#if !S2_PLUGIN_V3

#include "pluginV2.h"

#include "report.h"

#include <cstring>
#include <stdexcept>
#include <utility>

namespace s2deploy
{

PluginV2::PluginV2(std::unique_ptr<Operation> operation)
    : mOperation(std::move(operation))
    , mSerialized(toIntegers(mOperation->attributes()))
{
}

nvinfer1::IPluginV2DynamicExt* PluginV2::clone() const noexcept
{
    return guarded<nvinfer1::IPluginV2DynamicExt*>(getPluginType(), nullptr, [this] {
        auto copy = std::make_unique<PluginV2>(mOperation->clone());
        copy->mNamespace = mNamespace;
        return copy.release();
    });
}

nvinfer1::DimsExprs PluginV2::getOutputDimensions(int32_t /* outputIndex */, nvinfer1::DimsExprs const* inputs,
    int32_t nbInputs, nvinfer1::IExprBuilder& exprBuilder) noexcept
{
    nvinfer1::DimsExprs failure{};
    failure.nbDims = -1;
    return guarded(getPluginType(), failure, [&] {
        if (nbInputs != mOperation->inputs())
        {
            throw std::invalid_argument(
                std::to_string(nbInputs) + " inputs, not " + std::to_string(mOperation->inputs()));
        }
        mOperation->checkInputShape(knownDims(inputs[0]));
        return mOperation->outputShape(inputs, exprBuilder);
    });
}

bool PluginV2::supportsFormatCombination(
    int32_t pos, nvinfer1::PluginTensorDesc const* inOut, int32_t nbInputs, int32_t nbOutputs) noexcept
{
    return guarded(
        getPluginType(), false, [&] { return mOperation->supports(pos, inOut, nbInputs, nbOutputs); });
}

void PluginV2::configurePlugin(nvinfer1::DynamicPluginTensorDesc const* /* in */, int32_t /* nbInputs */,
    nvinfer1::DynamicPluginTensorDesc const* /* out */, int32_t /* nbOutputs */) noexcept
{
}

size_t PluginV2::getWorkspaceSize(nvinfer1::PluginTensorDesc const* inputs, int32_t /* nbInputs */,
    nvinfer1::PluginTensorDesc const* /* outputs */, int32_t /* nbOutputs */) const noexcept
{
    return guarded(getPluginType(), size_t{0}, [&] { return mOperation->workspaceBytes(inputs[0].dims); });
}

int32_t PluginV2::enqueue(nvinfer1::PluginTensorDesc const* inputDesc, nvinfer1::PluginTensorDesc const* outputDesc,
    void const* const* inputs, void* const* outputs, void* workspace, cudaStream_t stream) noexcept
{
    return runOperation(*mOperation, Execution{inputDesc, outputDesc, inputs, outputs, workspace, stream});
}

nvinfer1::DataType PluginV2::getOutputDataType(
    int32_t /* index */, nvinfer1::DataType const* inputTypes, int32_t /* nbInputs */) const noexcept
{
    return guarded(getPluginType(), inputTypes[0], [&] { return mOperation->outputType(inputTypes[0]); });
}

char const* PluginV2::getPluginType() const noexcept
{
    return mOperation->name();
}

char const* PluginV2::getPluginVersion() const noexcept
{
    return kVERSION;
}

int32_t PluginV2::getNbOutputs() const noexcept
{
    return 1;
}

int32_t PluginV2::initialize() noexcept
{
    return 0;
}

void PluginV2::terminate() noexcept {}

size_t PluginV2::getSerializationSize() const noexcept
{
    return mSerialized.size() * sizeof(int32_t);
}

void PluginV2::serialize(void* buffer) const noexcept
{
    std::memcpy(buffer, mSerialized.data(), getSerializationSize());
}

void PluginV2::destroy() noexcept
{
    delete this;
}

void PluginV2::setPluginNamespace(char const* pluginNamespace) noexcept
{
    guarded(getPluginType(), 0, [&] {
        mNamespace = pluginNamespace == nullptr ? "" : pluginNamespace;
        return 0;
    });
}

char const* PluginV2::getPluginNamespace() const noexcept
{
    return mNamespace.c_str();
}

PluginCreatorV2::PluginCreatorV2(OperationKind const& kind)
    : mKind(kind)
{
}

char const* PluginCreatorV2::getPluginName() const noexcept
{
    return mKind.name;
}

char const* PluginCreatorV2::getPluginVersion() const noexcept
{
    return kVERSION;
}

nvinfer1::PluginFieldCollection const* PluginCreatorV2::getFieldNames() noexcept
{
    return guarded<nvinfer1::PluginFieldCollection const*>(
        mKind.name, nullptr, [this] { return &announcedFields(mKind.attributeSet); });
}

nvinfer1::IPluginV2DynamicExt* PluginCreatorV2::createPlugin(
    char const* /* name */, nvinfer1::PluginFieldCollection const* fc) noexcept
{
    return guarded<nvinfer1::IPluginV2DynamicExt*>(mKind.name, nullptr, [&] {
        if (fc == nullptr)
        {
            throw std::invalid_argument("no fields were passed");
        }
        auto plugin = std::make_unique<PluginV2>(mKind.create(readFields(*fc, mKind.attributeSet)));
        plugin->setPluginNamespace(mNamespace.c_str());
        return plugin.release();
    });
}

nvinfer1::IPluginV2DynamicExt* PluginCreatorV2::deserializePlugin(
    char const* /* name */, void const* serialData, size_t serialLength) noexcept
{
    return guarded<nvinfer1::IPluginV2DynamicExt*>(mKind.name, nullptr, [&] {
        auto plugin = std::make_unique<PluginV2>(mKind.create(fromBytes(serialData, serialLength)));
        plugin->setPluginNamespace(mNamespace.c_str());
        return plugin.release();
    });
}

void PluginCreatorV2::setPluginNamespace(char const* pluginNamespace) noexcept
{
    guarded(mKind.name, 0, [&] {
        mNamespace = pluginNamespace == nullptr ? "" : pluginNamespace;
        return 0;
    });
}

char const* PluginCreatorV2::getPluginNamespace() const noexcept
{
    return mNamespace.c_str();
}

} // namespace s2deploy

#endif // !S2_PLUGIN_V3
