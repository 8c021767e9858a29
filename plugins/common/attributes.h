//! \file attributes.h
//! The attributes of an operator: read from plugin fields or bytes, checked, written back.

#ifndef S2DEPLOY_ATTRIBUTES_H
#define S2DEPLOY_ATTRIBUTES_H

#include "featureShape.h"
#include "tensorRt.h"

#include <vector>

namespace s2deploy
{

//! The name, namespace and version under which TensorRT and its ONNX parser find an operator.
constexpr char const* kNAMESPACE = "s2deploy";
constexpr char const* kVERSION = "1";

//! What an operator may be told, as s2deploy/ops/schema.py has it.
enum class AttributeSet
{
    kBORDER,   //!< groups, channels_last, border
    kBRANCHES, //!< groups, channels_last, branches
};

struct Attributes
{
    std::vector<int32_t> groups;
    int32_t channelsLast{0};
    int32_t border{0};
    int32_t branches{1};

    Layout layout() const;

    //! \throw std::invalid_argument what does not fit
    void check() const;
};

//! The fields that a creator announces; they live as long as the library.
nvinfer1::PluginFieldCollection const& announcedFields(AttributeSet set);

//! Reads what the ONNX parser or a user passes.
//! \throw std::invalid_argument naming the field that is missing, unknown, of the wrong type or out of range
Attributes readFields(nvinfer1::PluginFieldCollection const& fields, AttributeSet set);

//! Fields for a plan: those of readFields() and a format version. They point into \p attributes.
std::vector<nvinfer1::PluginField> serializedFields(Attributes const& attributes, AttributeSet set);

//! Reads what serializedFields() wrote.
//! \throw std::invalid_argument also where the format version is missing or not ours
Attributes readSerializedFields(nvinfer1::PluginFieldCollection const& fields, AttributeSet set);

//! The same for IPluginV2, whose plans hold bytes: magic number, format version, count, integers.
std::vector<int32_t> toIntegers(Attributes const& attributes);

//! \throw std::invalid_argument where the bytes are not exactly what toIntegers() gives
Attributes fromBytes(void const* bytes, size_t size);

} // namespace s2deploy

#endif // S2DEPLOY_ATTRIBUTES_H
