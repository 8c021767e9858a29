//! \file elements.h
//! Element types: how they are stored and turned into float and back. The CPU has float alone.

#ifndef S2DEPLOY_ELEMENTS_H
#define S2DEPLOY_ELEMENTS_H

#include "fastDivide.h"

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace s2deploy
{

enum class ElementType : int32_t
{
    kFLOAT32 = 0,
    kFLOAT16 = 1,
    kBFLOAT16 = 2,
};

inline int32_t elementBytes(ElementType type)
{
    return type == ElementType::kFLOAT32 ? 4 : 2;
}

struct Float32
{
    using Storage = uint32_t;

    static S2_HOST_DEVICE float toFloat(Storage bits)
    {
        float value;
        memcpy(&value, &bits, sizeof(value));
        return value;
    }

    static S2_HOST_DEVICE Storage fromFloat(float value)
    {
        Storage bits;
        memcpy(&bits, &value, sizeof(bits));
        return bits;
    }
};

#if defined(__CUDACC__)
struct Float16
{
    using Storage = uint16_t;

    static __device__ __forceinline__ float toFloat(Storage bits)
    {
        return __half2float(__ushort_as_half(bits));
    }

    static __device__ __forceinline__ Storage fromFloat(float value)
    {
        return __half_as_ushort(__float2half_rn(value));
    }
};

struct Bfloat16
{
    using Storage = uint16_t;

    static __device__ __forceinline__ float toFloat(Storage bits)
    {
        return __uint_as_float(static_cast<uint32_t>(bits) << 16);
    }

    static __device__ __forceinline__ Storage fromFloat(float value)
    {
        return __bfloat16_as_ushort(__float2bfloat16_rn(value));
    }
};
#endif

} // namespace s2deploy

#endif // S2DEPLOY_ELEMENTS_H
