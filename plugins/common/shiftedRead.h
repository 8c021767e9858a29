//! \file shiftedRead.h
//! Reads one pack of a shifted feature map; shared by all kernels and run on the CPU by the tests.

#ifndef S2DEPLOY_SHIFTED_READ_H
#define S2DEPLOY_SHIFTED_READ_H

#include "pack.h"
#include "shiftTable.h"

namespace s2deploy
{

S2_HOST_DEVICE int32_t clampTo(int32_t value, int32_t extent)
{
    return value < 0 ? 0 : (value < extent ? value : extent - 1);
}

S2_HOST_DEVICE bool isInside(int32_t value, int32_t extent)
{
    return value >= 0 && value < extent;
}

//! Reads kWIDTH neighbouring columns of a row of an H x W plane.
//!
//! Where the columns read do not start at a multiple of kWIDTH, the two aligned packs that hold them are read and cut;
//! packs outside the row are not touched, their elements are replaced by the border's.
//!
//! \param column multiple of kWIDTH, which divides \p width
template <int32_t kWIDTH, typename S>
S2_HOST_DEVICE Pack<S, kWIDTH> readColumns(
    S const* plane, int32_t height, int32_t width, int32_t row, int32_t column, Offset offset, Border border)
{
    S const* const own = plane + int64_t{row} * width;
    int32_t const sourceRow = row + offset.dy;
    if (border != Border::kREPLICATE && !isInside(sourceRow, height))
    {
        return border == Border::kZERO ? splatPack<kWIDTH>(S{0}) : loadPack<kWIDTH>(own + column);
    }
    S const* const source = plane + int64_t{clampTo(sourceRow, height)} * width;
    if (offset.dx == 0)
    {
        return loadPack<kWIDTH>(source + column);
    }
    int32_t const first = column + offset.dx;
    int32_t const start = first & (kWIDTH - 1);
    int32_t const low = first - start;
    Pack<S, kWIDTH> pack = splatPack<kWIDTH>(S{0});
    if (isInside(low, width))
    {
        pack = loadPack<kWIDTH>(source + low);
    }
    if (start != 0)
    {
        Pack<S, kWIDTH> next = splatPack<kWIDTH>(S{0});
        if (isInside(low + kWIDTH, width))
        {
            next = loadPack<kWIDTH>(source + low + kWIDTH);
        }
        pack = cutPacks(pack, next, start);
    }
    if (first < 0 || first + kWIDTH > width)
    {
        Pack<S, kWIDTH> const outside = border == Border::kKEEP
            ? loadPack<kWIDTH>(own + column)
            : splatPack<kWIDTH>(border == Border::kZERO ? S{0} : source[offset.dx < 0 ? 0 : width - 1]);
        S2_UNROLL
        for (int32_t e = 0; e < kWIDTH; ++e)
        {
            pack.value[e] = isInside(first + e, width) ? pack.value[e] : outside.value[e];
        }
    }
    return pack;
}

//! Reads kWIDTH neighbouring channels of a position of an H x W x C map; all of them have the same offset.
template <int32_t kWIDTH, typename S>
S2_HOST_DEVICE Pack<S, kWIDTH> readChannels(S const* map, int32_t height, int32_t width, int32_t channels, int32_t row,
    int32_t column, int32_t channel, Offset offset, Border border)
{
    int32_t sourceRow = row + offset.dy;
    int32_t sourceColumn = column + offset.dx;
    bool const inside = isInside(sourceRow, height) && isInside(sourceColumn, width);
    if (border == Border::kZERO && !inside)
    {
        return splatPack<kWIDTH>(S{0});
    }
    bool const keeps = border == Border::kKEEP && !inside;
    sourceRow = keeps ? row : clampTo(sourceRow, height);
    sourceColumn = keeps ? column : clampTo(sourceColumn, width);
    return loadPack<kWIDTH>(map + (int64_t{sourceRow} * width + sourceColumn) * channels + channel);
}

//! How often position \p source of an axis is read by clamp(i + offset) for all i of the axis.
S2_HOST_DEVICE int32_t timesRead(int32_t source, int32_t offset, int32_t extent)
{
    int32_t const distance = offset < 0 ? -offset : offset;
    int32_t const fromEdge = offset < 0 ? extent - 1 - source : source; // the edge whose values are shifted out
    if (fromEdge == extent - 1)                                         // the edge that is replicated
    {
        return distance < extent ? distance + 1 : extent;
    }
    return fromEdge >= distance ? 1 : 0;
}

} // namespace s2deploy

#endif // S2DEPLOY_SHIFTED_READ_H
