//! \file shiftSumPoolItem.h
//! What one thread adds up, on a GPU and in the tests on a CPU.
//!
//! A shift that replicates its border reads every position a known number of times: once inside, more often at the edge
//! that is replicated, never at the edge that is shifted out. So the sum over the shifted map is a sum over the map
//! itself, every position times that number, and the map is read once, in order and without offsets.

#ifndef S2DEPLOY_SHIFT_SUM_POOL_ITEM_H
#define S2DEPLOY_SHIFT_SUM_POOL_ITEM_H

#include "elements.h"
#include "featureShape.h"
#include "shiftedRead.h"

namespace s2deploy
{

struct ShiftSumPoolArguments
{
    ShiftTable table;
    int32_t branches;
    int32_t channels; //!< of one branch, and of the output
    int32_t height;
    int32_t width;
    FastDivide packsPerRow; //!< of a row of W; of W single positions where channels are last

    ShiftSumPoolArguments(FeatureShape const& shape, int32_t branchCount, ShiftTable const& shifts, int32_t packWidth)
        : table(shifts)
        , branches(branchCount)
        , channels(shape.channels / branchCount)
        , height(shape.height)
        , width(shape.width)
        , packsPerRow(static_cast<uint32_t>(shape.layout == Layout::kNHWC ? width : width / packWidth))
    {
    }
};

//! A value that is read no times must not count, not even as 0 times infinity.
S2_HOST_DEVICE float timesValue(int32_t times, float value)
{
    return times == 0 ? 0.0F : static_cast<float>(times) * value;
}

//! Adds the packs \p begin, begin + step, ... of every branch's plane of one channel of N x K C x H x W.
template <typename E, int32_t kWIDTH, typename S = typename E::Storage>
S2_HOST_DEVICE float poolColumns(
    ShiftSumPoolArguments const& a, S const* x, int64_t sample, int32_t channel, uint32_t begin, uint32_t step)
{
    int64_t const plane = int64_t{a.height} * a.width;
    uint32_t const packs = static_cast<uint32_t>(plane / kWIDTH);
    float sum = 0.0F;
    for (int32_t k = 0; k < a.branches; ++k)
    {
        int32_t const source = k * a.channels + channel;
        Offset const offset = a.table.at(source);
        S const* const map = x + (sample * a.branches * a.channels + source) * plane;
        S2_UNROLL_BY(4)
        for (uint32_t item = begin; item < packs; item += step)
        {
            uint32_t inner = item;
            int32_t const row = static_cast<int32_t>(a.packsPerRow.split(inner));
            int32_t const column = static_cast<int32_t>(inner) * kWIDTH;
            Pack<S, kWIDTH> const pack = loadPack<kWIDTH>(map + int64_t{row} * a.width + column);
            float rowSum = 0.0F;
            S2_UNROLL
            for (int32_t e = 0; e < kWIDTH; ++e)
            {
                rowSum += timesValue(timesRead(column + e, offset.dx, a.width), E::toFloat(pack.value[e]));
            }
            sum += timesValue(timesRead(row, offset.dy, a.height), rowSum);
        }
    }
    return sum;
}

//! Adds the positions \p begin, begin + step, ... below \p end of kWIDTH channels of N x H x W x K C.
//! \param map the sample
//! \param sum kWIDTH sums that are added to
template <typename E, int32_t kWIDTH, typename S = typename E::Storage>
S2_HOST_DEVICE void poolPositions(ShiftSumPoolArguments const& a, S const* map, int32_t channel, uint32_t begin,
    uint32_t end, uint32_t step, float (&sum)[kWIDTH])
{
    for (int32_t k = 0; k < a.branches; ++k)
    {
        int32_t const source = k * a.channels + channel;
        Offset const offset = a.table.at(source);
        S2_UNROLL_BY(4)
        for (uint32_t position = begin; position < end; position += step)
        {
            uint32_t column = position;
            int32_t const row = static_cast<int32_t>(a.packsPerRow.split(column));
            Pack<S, kWIDTH> const pack = loadPack<kWIDTH>(map + int64_t{position} * a.branches * a.channels + source);
            int32_t const times = timesRead(row, offset.dy, a.height)
                * timesRead(static_cast<int32_t>(column), offset.dx, a.width);
            S2_UNROLL
            for (int32_t e = 0; e < kWIDTH; ++e)
            {
                sum[e] += timesValue(times, E::toFloat(pack.value[e]));
            }
        }
    }
}

} // namespace s2deploy

#endif // S2DEPLOY_SHIFT_SUM_POOL_ITEM_H
