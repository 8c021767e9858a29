//! \file hostElements.h
//! The 16-bit element types on a CPU, so that the tests add up packs of eight as a GPU does.

#ifndef S2DEPLOY_HOST_ELEMENTS_H
#define S2DEPLOY_HOST_ELEMENTS_H

#include "elements.h"

#include <cmath>

namespace s2deploy
{

//! Rounds to nearest, ties to even, as float16 with 10 bits and bfloat16 with 7 bits of fraction do.
struct HostBfloat16
{
    using Storage = uint16_t;

    static float toFloat(Storage bits)
    {
        return Float32::toFloat(static_cast<uint32_t>(bits) << 16);
    }

    static Storage fromFloat(float value)
    {
        uint32_t const bits = Float32::fromFloat(value);
        return static_cast<Storage>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
    }
};

//! Normal numbers, zero and infinity: the cases hold small integers.
struct HostFloat16
{
    using Storage = uint16_t;

    static float toFloat(Storage bits)
    {
        int32_t const exponent = (bits >> 10) & 0x1F;
        float const sign = (bits & 0x8000) != 0 ? -1.0F : 1.0F;
        if (exponent == 0x1F)
        {
            return sign * INFINITY;
        }
        float const fraction = 1.0F + static_cast<float>(bits & 0x3FF) / 1024.0F;
        return exponent == 0 ? sign * 0.0F : sign * std::ldexp(fraction, exponent - 15);
    }

    static Storage fromFloat(float value)
    {
        uint32_t const bits = Float32::fromFloat(value);
        uint32_t const rounded = bits + 0xFFFU + ((bits >> 13) & 1U);
        uint32_t const sign = (bits >> 16) & 0x8000U;
        int32_t const exponent = static_cast<int32_t>((rounded >> 23) & 0xFF) - 127 + 15;
        if (exponent <= 0)
        {
            return static_cast<Storage>(sign);
        }
        uint32_t const finite = (static_cast<uint32_t>(exponent) << 10) | ((rounded >> 13) & 0x3FFU);
        return static_cast<Storage>(sign | (exponent > 30 ? 0x7C00U : finite));
    }
};

} // namespace s2deploy

#endif // S2DEPLOY_HOST_ELEMENTS_H
