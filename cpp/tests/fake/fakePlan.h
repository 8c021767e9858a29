#pragma once

#include "fakeCuda.h"

#include <NvInferRuntime.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <string>
#include <vector>

//! \file The plans of the stand-in for TensorRT; fakeTensorRT.h says what they hold.

namespace fake
{

using nlohmann::json;
using Sizes = std::vector<int64_t>;

inline nvinfer1::Dims toDims(Sizes const& sizes)
{
    nvinfer1::Dims dims{};
    dims.nbDims = static_cast<int32_t>(sizes.size());
    std::copy(sizes.begin(), sizes.end(), dims.d);
    return dims;
}

inline std::size_t elements(Sizes const& sizes)
{
    std::size_t product = 1;
    for (int64_t const size : sizes)
    {
        product *= static_cast<std::size_t>(size);
    }
    return product;
}

struct Tensor
{
    std::string name;
    bool isInput;
    Sizes shape;
};

struct Plan
{
    explicit Plan(json const& from)
        : content(from)
        , kind(from.value("kind", "double"))
    {
        for (auto const& [name, shape] : from.at("inputs").items())
        {
            tensors.push_back({name, true, shape.get<Sizes>()});
        }
        Sizes const first = tensors.front().shape;
        if (kind == "means")
        {
            tensors.push_back({"scores", false, {first.at(0), first.at(1)}});
            return;
        }
        tensors.push_back({"y", false, first});
        if (kind == "positive")
        {
            tensors.push_back({"positive", false, {-1}});
        }
    }

    Tensor const& find(std::string const& name) const
    {
        auto const found = std::find_if(
            tensors.begin(), tensors.end(), [&name](Tensor const& tensor) { return tensor.name == name; });
        return found != tensors.end() ? *found : (fake::broken("the plan has no tensor " + name), tensors.front());
    }

    bool isDynamic() const
    {
        Sizes const& first = tensors.front().shape;
        return std::find(first.begin(), first.end(), -1) != first.end();
    }

    json content;
    std::string kind;
    std::vector<Tensor> tensors;
    nvinfer1::ILogger* logger{};
    int contexts{};
};

} // namespace fake
