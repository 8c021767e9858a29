//! \file spatialShiftItem.h
//! What one thread does for one pack of the output, on a GPU and in the tests on a CPU.

#ifndef S2DEPLOY_SPATIAL_SHIFT_ITEM_H
#define S2DEPLOY_SPATIAL_SHIFT_ITEM_H

#include "featureShape.h"
#include "shiftedRead.h"

namespace s2deploy
{

//! Packs are numbered in the order of the output's memory: pack i is written at i * width.
struct SpatialShiftArguments
{
    ShiftTable table;
    Border border;
    int32_t channels;
    int32_t height;
    int32_t width;
    FastDivide packsPerRow; //!< of a row of the innermost axis: W or C
    FastDivide middle;      //!< the axis around it: H or W
    FastDivide outer;       //!< the axis around that: C or H

    SpatialShiftArguments(FeatureShape const& shape, ShiftTable const& shifts, Border outside, int32_t packWidth)
        : table(shifts)
        , border(outside)
        , channels(shape.channels)
        , height(shape.height)
        , width(shape.width)
    {
        bool const last = shape.layout == Layout::kNHWC;
        packsPerRow = FastDivide(static_cast<uint32_t>((last ? channels : width) / packWidth));
        middle = FastDivide(static_cast<uint32_t>(last ? width : height));
        outer = FastDivide(static_cast<uint32_t>(last ? height : channels));
    }
};

template <int32_t kWIDTH, Layout kLAYOUT, typename S>
S2_HOST_DEVICE Pack<S, kWIDTH> spatialShiftItem(SpatialShiftArguments const& a, S const* x, uint32_t item)
{
    uint32_t inner = item;
    uint32_t middle = a.packsPerRow.split(inner);
    uint32_t outer = a.middle.split(middle);
    uint32_t const sample = a.outer.split(outer);
    int64_t const plane = int64_t{a.height} * a.width;
    S const* const map = x + sample * plane * a.channels;
    int32_t const first = static_cast<int32_t>(inner) * kWIDTH;
    if constexpr (kLAYOUT == Layout::kNCHW)
    {
        int32_t const channel = static_cast<int32_t>(outer);
        return readColumns<kWIDTH>(map + channel * plane, a.height, a.width, static_cast<int32_t>(middle), first,
            a.table.at(channel), a.border);
    }
    else
    {
        return readChannels<kWIDTH>(map, a.height, a.width, a.channels, static_cast<int32_t>(outer),
            static_cast<int32_t>(middle), first, a.table.at(first), a.border);
    }
}

} // namespace s2deploy

#endif // S2DEPLOY_SPATIAL_SHIFT_ITEM_H
