#include "binding.h"

#include <algorithm>

namespace s2deploy
{
namespace
{

std::string describe(TensorInfo const& info)
{
    return info.name + " " + toString(info.shape) + " " + nameOf(info.type);
}

template <typename Given>
void checkNames(Given const& given, std::vector<TensorInfo> const& known, std::string const& what)
{
    std::string hint;
    for (TensorInfo const& info : known)
    {
        hint += (hint.empty() ? "the " + what + "s are " : ", ") + describe(info);
    }
    for (auto const& entry : given)
    {
        auto const isNamed = [&entry](TensorInfo const& info) { return info.name == entry.first; };
        if (std::none_of(known.begin(), known.end(), isNamed))
        {
            throw UsageError("there is no " + what + " '" + entry.first + "'", hint);
        }
    }
    for (TensorInfo const& info : known)
    {
        if (given.count(info.name) == 0)
        {
            throw UsageError(what + " '" + info.name + "' is missing", hint);
        }
    }
}

void checkShape(TensorInfo const& info, Shape const& shape)
{
    if (shape.size() != info.shape.size())
    {
        throw UsageError("input '" + info.name + "' has " + std::to_string(info.shape.size()) + " axes ("
                + describe(info) + "), it is given the shape " + toString(shape),
            "add or drop axes of size 1, e.g. for a batch of one");
    }
    for (std::size_t axis = 0; axis < shape.size(); ++axis)
    {
        if (shape[axis] < 0 || (info.shape[axis] >= 0 && shape[axis] != info.shape[axis]))
        {
            throw UsageError("input '" + info.name + "': axis " + std::to_string(axis) + " has size "
                    + std::to_string(shape[axis]) + ", the plan takes " + describe(info),
                "give that size, or build the plan with a range there: s2deploy build --input");
        }
    }
}

} // namespace

void checkInputs(Inputs const& given, std::vector<TensorInfo> const& known)
{
    checkNames(given, known, "input");
    for (TensorInfo const& info : known)
    {
        Input const& input = given.at(info.name);
        if (input.type != info.type)
        {
            throw UsageError("input '" + info.name + "' is " + nameOf(info.type) + " but the elements are "
                    + nameOf(input.type),
                std::string("convert them to ") + nameOf(info.type));
        }
        checkShape(info, input.shape);
        if (input.data == nullptr && elementsOf(input.shape) > 0)
        {
            throw UsageError("input '" + info.name + "' has no memory", "let Input::data point to its elements");
        }
    }
}

void checkShapes(Shapes const& given, std::vector<TensorInfo> const& known)
{
    checkNames(given, known, "input");
    for (TensorInfo const& info : known)
    {
        checkShape(info, given.at(info.name));
    }
}

void checkOutputs(Outputs const& given, std::vector<TensorInfo> const& known)
{
    checkNames(given, known, "output");
}

} // namespace s2deploy
