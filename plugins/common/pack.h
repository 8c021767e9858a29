//! \file pack.h
//! Several neighbouring elements that move as one access of up to 16 bytes.

#ifndef S2DEPLOY_PACK_H
#define S2DEPLOY_PACK_H

#include "fastDivide.h"

#include <cstdint>
#include <cstring>

namespace s2deploy
{

constexpr int32_t kACCESS_BYTES = 16;

//! \tparam S an unsigned integer of the element's size
template <typename S, int32_t kWIDTH>
struct alignas(sizeof(S) * kWIDTH) Pack
{
    S value[kWIDTH];
};

//! Reads a pack from an address that is a multiple of its size.
template <int32_t kWIDTH, typename S>
S2_HOST_DEVICE Pack<S, kWIDTH> loadPack(S const* source)
{
    return *reinterpret_cast<Pack<S, kWIDTH> const*>(source);
}

template <int32_t kWIDTH, typename S>
S2_HOST_DEVICE void storePack(S* target, Pack<S, kWIDTH> const& pack)
{
    *reinterpret_cast<Pack<S, kWIDTH>*>(target) = pack;
}

template <int32_t kWIDTH, typename S>
S2_HOST_DEVICE Pack<S, kWIDTH> splatPack(S element)
{
    Pack<S, kWIDTH> pack;
    S2_UNROLL
    for (int32_t e = 0; e < kWIDTH; ++e)
    {
        pack.value[e] = element;
    }
    return pack;
}

//! Cuts kWIDTH elements out of two neighbouring packs, from element \p start of the first.
//!
//! This replaces reads of single elements where a row is shifted sideways. The work is done on words of 32 bits, and no
//! array is indexed by \p start: on a GPU that would move the packs to local memory.
//!
//! \param start 0 to kWIDTH - 1
template <typename S, int32_t kWIDTH>
S2_HOST_DEVICE Pack<S, kWIDTH> cutPacks(Pack<S, kWIDTH> const& low, Pack<S, kWIDTH> const& high, int32_t start)
{
    static_assert(sizeof(S) == 2 || sizeof(S) == 4, "elements have 2 or 4 bytes");
    if constexpr (kWIDTH == 1)
    {
        return low;
    }
    else
    {
        constexpr int32_t kWORDS = kWIDTH * static_cast<int32_t>(sizeof(S)) / 4;
        constexpr int32_t kPER_WORD = 4 / static_cast<int32_t>(sizeof(S));
        uint32_t words[2 * kWORDS];
        memcpy(words, &low, sizeof(low));
        memcpy(words + kWORDS, &high, sizeof(high));
        int32_t const word = start / kPER_WORD;
        S2_UNROLL
        for (int32_t step = kWORDS / 2; step > 0; step /= 2)
        {
            bool const moves = (word & step) != 0;
            S2_UNROLL
            for (int32_t k = 0; k < 2 * kWORDS - step; ++k)
            {
                words[k] = moves ? words[k + step] : words[k];
            }
        }
        if constexpr (kPER_WORD == 2)
        {
            bool const half = (start & 1) != 0;
            S2_UNROLL
            for (int32_t k = 0; k < kWORDS; ++k)
            {
                words[k] = half ? (words[k] >> 16) | (words[k + 1] << 16) : words[k];
            }
        }
        Pack<S, kWIDTH> result;
        memcpy(&result, words, sizeof(result));
        return result;
    }
}

} // namespace s2deploy

#endif // S2DEPLOY_PACK_H
