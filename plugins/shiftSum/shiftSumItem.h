//! \file shiftSumItem.h
//! What one thread does for one pack of the output, on a GPU and in the tests on a CPU.

#ifndef S2DEPLOY_SHIFT_SUM_ITEM_H
#define S2DEPLOY_SHIFT_SUM_ITEM_H

#include "elements.h"
#include "featureShape.h"
#include "shiftedRead.h"

namespace s2deploy
{

//! Packs are numbered in the order of the output's memory: pack i is written at i * width.
struct ShiftSumArguments
{
    ShiftTable table;
    int32_t branches;
    int32_t channels; //!< of one branch, and of the output
    int32_t height;
    int32_t width;
    FastDivide packsPerRow; //!< of a row of the output's innermost axis: W or C
    FastDivide middle;      //!< the axis around it: H or W
    FastDivide outer;       //!< the axis around that: C or H

    ShiftSumArguments(FeatureShape const& shape, int32_t branchCount, ShiftTable const& shifts, int32_t packWidth)
        : table(shifts)
        , branches(branchCount)
        , channels(shape.channels / branchCount)
        , height(shape.height)
        , width(shape.width)
    {
        bool const last = shape.layout == Layout::kNHWC;
        packsPerRow = FastDivide(static_cast<uint32_t>((last ? channels : width) / packWidth));
        middle = FastDivide(static_cast<uint32_t>(last ? width : height));
        outer = FastDivide(static_cast<uint32_t>(last ? height : channels));
    }
};

//! \tparam kBRANCHES the number of branches, so that all are read before the first is used; 0 where it is not known
template <typename E, int32_t kWIDTH, Layout kLAYOUT, int32_t kBRANCHES, typename S = typename E::Storage>
S2_HOST_DEVICE Pack<S, kWIDTH> shiftSumItem(ShiftSumArguments const& a, S const* x, S const* w, uint32_t item)
{
    uint32_t inner = item;
    uint32_t middle = a.packsPerRow.split(inner);
    uint32_t outer = a.middle.split(middle);
    uint32_t const sample = a.outer.split(outer);
    int32_t const branches = kBRANCHES > 0 ? kBRANCHES : a.branches;
    int64_t const plane = int64_t{a.height} * a.width;
    S const* const map = x + sample * plane * a.channels * branches;
    S const* const weights = w + int64_t{sample} * branches * a.channels;
    int32_t const first = static_cast<int32_t>(inner) * kWIDTH;
    float sum[kWIDTH]{};
    auto const read = [&](int32_t k) {
        if constexpr (kLAYOUT == Layout::kNCHW)
        {
            int32_t const channel = k * a.channels + static_cast<int32_t>(outer);
            return readColumns<kWIDTH>(map + channel * plane, a.height, a.width, static_cast<int32_t>(middle), first,
                a.table.at(channel), Border::kREPLICATE);
        }
        else
        {
            int32_t const channel = k * a.channels + first;
            return readChannels<kWIDTH>(map, a.height, a.width, branches * a.channels, static_cast<int32_t>(outer),
                static_cast<int32_t>(middle), channel, a.table.at(channel), Border::kREPLICATE);
        }
    };
    auto const weigh = [&](int32_t k) {
        if constexpr (kLAYOUT == Layout::kNCHW)
        {
            return splatPack<kWIDTH>(weights[k * a.channels + static_cast<int32_t>(outer)]);
        }
        else
        {
            return loadPack<kWIDTH>(weights + k * a.channels + first);
        }
    };
    auto const add = [&](Pack<S, kWIDTH> const& values, Pack<S, kWIDTH> const& factors) {
        S2_UNROLL
        for (int32_t e = 0; e < kWIDTH; ++e)
        {
            sum[e] += E::toFloat(factors.value[e]) * E::toFloat(values.value[e]);
        }
    };
    if constexpr (kBRANCHES > 0)
    {
        Pack<S, kWIDTH> values[kBRANCHES];
        S2_UNROLL
        for (int32_t k = 0; k < kBRANCHES; ++k)
        {
            values[k] = read(k);
        }
        S2_UNROLL
        for (int32_t k = 0; k < kBRANCHES; ++k)
        {
            add(values[k], weigh(k));
        }
    }
    else
    {
        for (int32_t k = 0; k < branches; ++k)
        {
            add(read(k), weigh(k));
        }
    }
    Pack<S, kWIDTH> result;
    S2_UNROLL
    for (int32_t e = 0; e < kWIDTH; ++e)
    {
        result.value[e] = E::fromFloat(sum[e]);
    }
    return result;
}

} // namespace s2deploy

#endif // S2DEPLOY_SHIFT_SUM_ITEM_H
