//! \file fastDivide.h
//! Division by a number known at launch: one high multiplication, one addition and one shift.

#ifndef S2DEPLOY_FAST_DIVIDE_H
#define S2DEPLOY_FAST_DIVIDE_H

#include <cstdint>

#if defined(__CUDACC__)
#define S2_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define S2_HOST_DEVICE inline
#endif

#if defined(__CUDA_ARCH__)
#define S2_UNROLL _Pragma("unroll")
#define S2_PRAGMA(text) _Pragma(#text)
#define S2_UNROLL_BY(count) S2_PRAGMA(unroll count)
#else // a host compiler warns of what it does not know
#define S2_UNROLL
#define S2_UNROLL_BY(count)
#endif

namespace s2deploy
{

//! Divides numbers below 2^31 by a divisor of at least 1 and below 2^31.
//! Source: Granlund and Montgomery, "Division by Invariant Integers using Multiplication", 1994, figure 4.1.
struct FastDivide
{
    uint32_t divisor{1};
    uint32_t magic{1};
    uint32_t shift{0};

    FastDivide() = default;

    //! A divisor of 0 becomes 1: it belongs to an empty tensor, of which no element is ever looked up.
    explicit FastDivide(uint32_t value)
        : divisor(value == 0 ? 1 : value)
    {
        while ((uint64_t{1} << shift) < divisor)
        {
            ++shift;
        }
        magic = static_cast<uint32_t>((((uint64_t{1} << shift) - divisor) << 32) / divisor + 1);
    }

    S2_HOST_DEVICE uint32_t quotient(uint32_t value) const
    {
#if defined(__CUDA_ARCH__)
        uint32_t const high = __umulhi(value, magic);
#else
        uint32_t const high = static_cast<uint32_t>((uint64_t{value} * magic) >> 32);
#endif
        return (high + value) >> shift;
    }

    //! Splits a number; the remainder is written over it.
    //! \return the quotient
    S2_HOST_DEVICE uint32_t split(uint32_t& value) const
    {
        uint32_t const result = quotient(value);
        value -= result * divisor;
        return result;
    }
};

} // namespace s2deploy

#endif // S2DEPLOY_FAST_DIVIDE_H
