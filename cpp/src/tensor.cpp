#include "s2deploy/tensor.h"

namespace s2deploy
{

std::size_t sizeOf(DataType type) noexcept
{
    switch (type)
    {
    case DataType::kINT64: return 8;
    case DataType::kFLOAT32:
    case DataType::kINT32: return 4;
    case DataType::kFLOAT16:
    case DataType::kBFLOAT16: return 2;
    case DataType::kINT8:
    case DataType::kUINT8:
    case DataType::kBOOL: return 1;
    }
    return 0;
}

char const* nameOf(DataType type) noexcept
{
    switch (type)
    {
    case DataType::kFLOAT32: return "float32";
    case DataType::kFLOAT16: return "float16";
    case DataType::kBFLOAT16: return "bfloat16";
    case DataType::kINT64: return "int64";
    case DataType::kINT32: return "int32";
    case DataType::kINT8: return "int8";
    case DataType::kUINT8: return "uint8";
    case DataType::kBOOL: return "bool";
    }
    return "unknown";
}

std::string toString(Shape const& shape)
{
    if (shape.empty())
    {
        return "scalar";
    }
    std::string text;
    for (std::int64_t const size : shape)
    {
        text += (text.empty() ? "" : "x") + (size < 0 ? "?" : std::to_string(size));
    }
    return text;
}

std::size_t elementsOf(Shape const& shape) noexcept
{
    std::size_t elements = 1;
    for (std::int64_t const size : shape)
    {
        elements *= static_cast<std::size_t>(size);
    }
    return elements;
}

} // namespace s2deploy
