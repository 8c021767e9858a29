#include "attributes.h"

#include <array>
#include <cstring>
#include <stdexcept>
#include <string>

namespace s2deploy
{
namespace
{
using nvinfer1::PluginField;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginFieldType;

constexpr char const* kGROUPS = "groups";
constexpr char const* kCHANNELS_LAST = "channels_last";
constexpr char const* kBORDER = "border";
constexpr char const* kBRANCHES = "branches";
constexpr char const* kFORMAT = "format_version";
constexpr int32_t kFORMAT_VERSION = 1;
constexpr int32_t kMAGIC = 0x53324450;
constexpr int32_t kMAX_GROUP_VALUES = 4 * kMAX_SEGMENTS;

char const* choiceOf(AttributeSet set)
{
    return set == AttributeSet::kBORDER ? kBORDER : kBRANCHES;
}

//! Copies integers out of a field, whose memory need not be aligned.
template <typename T>
std::vector<int32_t> copyIntegers(PluginField const& field)
{
    std::vector<int32_t> values;
    for (int32_t at = 0; at < field.length; ++at)
    {
        T value;
        std::memcpy(&value, static_cast<char const*>(field.data) + static_cast<size_t>(at) * sizeof(T), sizeof(T));
        if (static_cast<int64_t>(static_cast<int32_t>(value)) != static_cast<int64_t>(value))
        {
            throw std::invalid_argument(std::string(field.name) + " has a value beyond 32 bits");
        }
        values.push_back(static_cast<int32_t>(value));
    }
    return values;
}

std::vector<int32_t> integersOf(PluginField const& field)
{
    if (field.length < 0 || field.length > kMAX_GROUP_VALUES || (field.length > 0 && field.data == nullptr))
    {
        throw std::invalid_argument(std::string(field.name) + " has " + std::to_string(field.length) + " values");
    }
    if (field.type == PluginFieldType::kINT32)
    {
        return copyIntegers<int32_t>(field);
    }
#if S2_PLUGIN_V3
    if (field.type == PluginFieldType::kINT64)
    {
        return copyIntegers<int64_t>(field);
    }
#endif
    throw std::invalid_argument(std::string(field.name) + " is not of integers");
}

int32_t integerOf(PluginField const& field)
{
    std::vector<int32_t> const values = integersOf(field);
    if (values.size() != 1)
    {
        throw std::invalid_argument(std::string(field.name) + " is not one integer");
    }
    return values.front();
}

//! \param format where the format version is written, or nullptr where fields come from a network
Attributes read(PluginFieldCollection const& fields, AttributeSet set, int32_t* format)
{
    Attributes result;
    bool hasBranches = set != AttributeSet::kBRANCHES;
    for (int32_t at = 0; at < fields.nbFields; ++at)
    {
        PluginField const& field = fields.fields[at];
        std::string const name = field.name == nullptr ? "" : field.name;
        if (name == kGROUPS)
        {
            result.groups = integersOf(field);
        }
        else if (name == kCHANNELS_LAST)
        {
            result.channelsLast = integerOf(field);
        }
        else if (name == choiceOf(set))
        {
            (set == AttributeSet::kBORDER ? result.border : result.branches) = integerOf(field);
            hasBranches = true;
        }
        else if (name == kFORMAT && format != nullptr)
        {
            *format = integerOf(field);
        }
        else
        {
            throw std::invalid_argument("there is no field " + name);
        }
    }
    if (!hasBranches)
    {
        throw std::invalid_argument("branches is missing");
    }
    result.check();
    return result;
}
} // namespace

Layout Attributes::layout() const
{
    return channelsLast != 0 ? Layout::kNHWC : Layout::kNCHW;
}

void Attributes::check() const
{
    ShiftTable table;
    if (char const* const error = buildShiftTable(groups.data(), static_cast<int32_t>(groups.size()), table))
    {
        throw std::invalid_argument(error);
    }
    if (channelsLast != 0 && channelsLast != 1)
    {
        throw std::invalid_argument("channels_last is " + std::to_string(channelsLast) + ", not 0 or 1");
    }
    if (border < 0 || border > static_cast<int32_t>(Border::kKEEP))
    {
        throw std::invalid_argument("border is " + std::to_string(border) + ", not 0, 1 or 2");
    }
    if (branches < 1)
    {
        throw std::invalid_argument("branches is " + std::to_string(branches) + ", not at least 1");
    }
}

PluginFieldCollection const& announcedFields(AttributeSet set)
{
    static auto const announce = [](char const* choice) {
        return std::array<PluginField, 3>{{{kGROUPS, nullptr, PluginFieldType::kINT32, 1},
            {kCHANNELS_LAST, nullptr, PluginFieldType::kINT32, 1}, {choice, nullptr, PluginFieldType::kINT32, 1}}};
    };
    static std::array<PluginField, 3> const withBorder = announce(kBORDER);
    static std::array<PluginField, 3> const withBranches = announce(kBRANCHES);
    static PluginFieldCollection const borderFields{static_cast<int32_t>(withBorder.size()), withBorder.data()};
    static PluginFieldCollection const branchFields{static_cast<int32_t>(withBranches.size()), withBranches.data()};
    return set == AttributeSet::kBORDER ? borderFields : branchFields;
}

Attributes readFields(PluginFieldCollection const& fields, AttributeSet set)
{
    return read(fields, set, nullptr);
}

std::vector<PluginField> serializedFields(Attributes const& attributes, AttributeSet set)
{
    auto const integer = [](char const* name, int32_t const& value) {
        return PluginField{name, &value, PluginFieldType::kINT32, 1};
    };
    return {integer(kFORMAT, kFORMAT_VERSION),
        {kGROUPS, attributes.groups.data(), PluginFieldType::kINT32, static_cast<int32_t>(attributes.groups.size())},
        integer(kCHANNELS_LAST, attributes.channelsLast),
        integer(choiceOf(set), set == AttributeSet::kBORDER ? attributes.border : attributes.branches)};
}

Attributes readSerializedFields(PluginFieldCollection const& fields, AttributeSet set)
{
    int32_t format = 0;
    Attributes result = read(fields, set, &format);
    if (format != kFORMAT_VERSION)
    {
        throw std::invalid_argument("the plan holds format version " + std::to_string(format)
            + " of the plugin and this library reads 1: build the plan again, or load the library it was built with");
    }
    return result;
}

std::vector<int32_t> toIntegers(Attributes const& attributes)
{
    std::vector<int32_t> values{kMAGIC, kFORMAT_VERSION, static_cast<int32_t>(attributes.groups.size()),
        attributes.channelsLast, attributes.border, attributes.branches};
    values.insert(values.end(), attributes.groups.begin(), attributes.groups.end());
    return values;
}

Attributes fromBytes(void const* bytes, size_t size)
{
    constexpr size_t kHEADER = 6;
    constexpr size_t kMAX_VALUES = kHEADER + kMAX_GROUP_VALUES;
    std::vector<int32_t> values(size / sizeof(int32_t));
    if (bytes == nullptr || size % sizeof(int32_t) != 0 || values.size() < kHEADER || values.size() > kMAX_VALUES)
    {
        throw std::invalid_argument(
            "the plan holds " + std::to_string(size) + " bytes for the plugin, which is no size it writes");
    }
    std::memcpy(values.data(), bytes, size);
    int32_t const groupValues = static_cast<int32_t>(values.size() - kHEADER);
    if (values[0] != kMAGIC || values[1] != kFORMAT_VERSION || values[2] != groupValues)
    {
        throw std::invalid_argument(
            "the plan holds another format of the plugin: build the plan again, or load the library it was built with");
    }
    Attributes result;
    result.channelsLast = values[3];
    result.border = values[4];
    result.branches = values[5];
    result.groups.assign(values.begin() + kHEADER, values.end());
    result.check();
    return result;
}

} // namespace s2deploy
