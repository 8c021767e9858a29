//! \file fieldList.h
//! Plugin fields that own their values, as an ONNX parser would pass them.

#ifndef S2DEPLOY_FIELD_LIST_H
#define S2DEPLOY_FIELD_LIST_H

#include "tensorRt.h"

#include <deque>
#include <string>
#include <utility>
#include <vector>

namespace s2deploy
{

class FieldList
{
public:
    FieldList& add(std::string name, std::vector<int32_t> values)
    {
        mValues.emplace_back(std::move(name), std::move(values));
        auto const& [key, data] = mValues.back();
        mFields.emplace_back(
            key.c_str(), data.data(), nvinfer1::PluginFieldType::kINT32, static_cast<int32_t>(data.size()));
        return *this;
    }

    FieldList& addFloat(char const* name)
    {
        static float const value = 1.0F;
        mFields.emplace_back(name, &value, nvinfer1::PluginFieldType::kFLOAT32, 1);
        return *this;
    }

    nvinfer1::PluginFieldCollection const* get()
    {
        mCollection = {static_cast<int32_t>(mFields.size()), mFields.data()};
        return &mCollection;
    }

private:
    std::deque<std::pair<std::string, std::vector<int32_t>>> mValues; //!< a deque, because fields point into it
    std::vector<nvinfer1::PluginField> mFields;
    nvinfer1::PluginFieldCollection mCollection{};
};

//! The seed block's shifts of \p channels: four groups, each one step in one direction.
inline std::vector<int32_t> fourGroups(int32_t channels)
{
    int32_t const quarter = channels / 4;
    int32_t const half = 2 * quarter;
    return {0, quarter, -1, 0, quarter, half, 1, 0, half, half + quarter, 0, -1, half + quarter, channels, 0, 1};
}

} // namespace s2deploy

#endif // S2DEPLOY_FIELD_LIST_H
