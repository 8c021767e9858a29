#pragma once

#include "s2deploy/error.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace s2deploy
{

//! Types of elements; 16-bit floats have no type in C++17 and are passed as bytes.
enum class DataType
{
    kFLOAT32,
    kFLOAT16,
    kBFLOAT16,
    kINT64,
    kINT32,
    kINT8,
    kUINT8,
    kBOOL
};

//! Bytes of one element.
std::size_t sizeOf(DataType type) noexcept;

//! The type by numpy's name, e.g. "float32".
char const* nameOf(DataType type) noexcept;

//! The type of a C++ type.
template <typename T>
constexpr DataType typeOf() noexcept;

template <>
constexpr DataType typeOf<float>() noexcept
{
    return DataType::kFLOAT32;
}

template <>
constexpr DataType typeOf<std::int64_t>() noexcept
{
    return DataType::kINT64;
}

template <>
constexpr DataType typeOf<std::int32_t>() noexcept
{
    return DataType::kINT32;
}

template <>
constexpr DataType typeOf<std::int8_t>() noexcept
{
    return DataType::kINT8;
}

template <>
constexpr DataType typeOf<std::uint8_t>() noexcept
{
    return DataType::kUINT8;
}

template <>
constexpr DataType typeOf<bool>() noexcept
{
    return DataType::kBOOL;
}

//! A size per axis, the outermost first; -1 where an engine's size is dynamic. A scalar has no axis.
using Shape = std::vector<std::int64_t>;
using Shapes = std::map<std::string, Shape>;

//! A shape as text, e.g. "1x3x224x224", "?" where dynamic.
std::string toString(Shape const& shape);

//! Number of elements of a shape without dynamic sizes.
std::size_t elementsOf(Shape const& shape) noexcept;

//! Where elements lie. Pinned host memory is host memory.
enum class Memory
{
    kHOST,
    kDEVICE
};

//! An input or output of an engine.
struct TensorInfo
{
    std::string name;
    DataType type;
    Shape shape;
};

//! Elements to read, in C order. They belong to the caller.
struct Input
{
    void const* data{};
    DataType type{DataType::kFLOAT32};
    Shape shape;
    Memory memory{Memory::kHOST};
};

//! Memory to write an output to, in C order. It belongs to the caller and may be larger than the output.
struct Output
{
    void* data{};
    std::size_t sizeBytes{};
    Memory memory{Memory::kHOST};
};

using Inputs = std::map<std::string, Input>;
using Outputs = std::map<std::string, Output>;

//! Describes host memory as an input.
//!
//! \throws UsageError The values are not as many as the shape has elements.
template <typename T>
Input hostInput(std::vector<T> const& values, Shape const& shape)
{
    if (values.size() != elementsOf(shape))
    {
        throw UsageError(std::to_string(values.size()) + " values are given for the shape " + toString(shape),
            "give as many values as the shape has elements");
    }
    return {values.data(), typeOf<T>(), shape, Memory::kHOST};
}

//! An output on the host, with its elements in C order.
struct Tensor
{
    DataType type{DataType::kFLOAT32};
    Shape shape;
    std::vector<std::byte> bytes;

    //! The elements.
    //!
    //! \throws UsageError They are of another type.
    template <typename T>
    T const* as() const
    {
        if (type != typeOf<T>())
        {
            throw UsageError(std::string("the tensor holds ") + nameOf(type) + ", not " + nameOf(typeOf<T>()),
                "ask for its own type, or read its bytes");
        }
        return reinterpret_cast<T const*>(bytes.data());
    }
};

using Tensors = std::map<std::string, Tensor>;

} // namespace s2deploy
