#include "profiles.h"

#include "library.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace s2deploy
{
namespace
{

bool takes(Range const& range, Shape const& shape)
{
    if (shape.size() != range.min.size())
    {
        return false;
    }
    for (std::size_t axis = 0; axis < shape.size(); ++axis)
    {
        if (shape[axis] < range.min[axis] || shape[axis] > range.max[axis])
        {
            return false;
        }
    }
    return true;
}

bool takes(Profile const& profile, Shapes const& shapes)
{
    return std::all_of(profile.begin(), profile.end(),
        [&shapes](auto const& input) { return takes(input.second, shapes.at(input.first)); });
}

//! How far shapes are from those the profile was tuned for.
double distance(Profile const& profile, Shapes const& shapes)
{
    double sum = 0;
    for (auto const& [name, range] : profile)
    {
        Shape const& shape = shapes.at(name);
        for (std::size_t axis = 0; axis < shape.size(); ++axis)
        {
            auto const best = static_cast<double>(range.opt[axis]);
            sum += std::abs(static_cast<double>(shape[axis]) - best) / std::max(best, 1.0);
        }
    }
    return sum;
}

std::string describe(Profile const& profile)
{
    std::string text;
    for (auto const& [name, range] : profile)
    {
        text += (text.empty() ? "" : "; ") + name + " " + toString(range.min) + " to " + toString(range.max);
    }
    return text;
}

} // namespace

std::size_t nearestProfile(std::vector<Profile> const& profiles, Shapes const& shapes)
{
    std::size_t nearest = profiles.size();
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t index = 0; index < profiles.size(); ++index)
    {
        if (takes(profiles[index], shapes) && distance(profiles[index], shapes) < least)
        {
            nearest = index;
            least = distance(profiles[index], shapes);
        }
    }
    if (nearest < profiles.size())
    {
        return nearest;
    }
    std::string given;
    for (auto const& [name, shape] : shapes)
    {
        given += (given.empty() ? "" : ", ") + name + " " + toString(shape);
    }
    std::string known;
    for (std::size_t index = 0; index < profiles.size(); ++index)
    {
        known += "\n  profile " + std::to_string(index) + ": " + describe(profiles[index]);
    }
    throw UsageError("no optimization profile of the plan takes " + given + "; it has:" + known,
        "give sizes inside one of them, or build the plan with a profile for these: s2deploy build --input");
}

std::vector<Profile> profilesOf(nvinfer1::ICudaEngine const& engine, std::vector<TensorInfo> const& inputs)
{
    using nvinfer1::OptProfileSelector;
    std::vector<Profile> profiles(static_cast<std::size_t>(std::max(1, engine.getNbOptimizationProfiles())));
    for (std::size_t index = 0; index < profiles.size(); ++index)
    {
        for (TensorInfo const& input : inputs)
        {
            auto const end = [&](OptProfileSelector which) {
                return isDynamic(input.shape)
                    ? toShape(engine.getProfileShape(input.name.c_str(), static_cast<int32_t>(index), which))
                    : input.shape;
            };
            profiles[index][input.name]
                = {end(OptProfileSelector::kMIN), end(OptProfileSelector::kOPT), end(OptProfileSelector::kMAX)};
        }
    }
    return profiles;
}

bool isDynamic(Shape const& shape) noexcept
{
    return std::any_of(shape.begin(), shape.end(), [](std::int64_t size) { return size < 0; });
}

} // namespace s2deploy
