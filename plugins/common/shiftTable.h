//! \file shiftTable.h
//! Which offset a channel is read at: a partition of the channels that travels as a launch parameter.

#ifndef S2DEPLOY_SHIFT_TABLE_H
#define S2DEPLOY_SHIFT_TABLE_H

#include "fastDivide.h"

#include <cstdint>

namespace s2deploy
{

//! Limits and meanings are those of s2deploy/ops/configuration.py; a test compares them.
constexpr int32_t kMAX_SEGMENTS = 64;
constexpr int32_t kMAX_OFFSET = 1 << 20;
constexpr int32_t kMAX_EXTENT = 1 << 30;

enum class Border : int32_t
{
    kREPLICATE = 0,
    kZERO = 1,
    kKEEP = 2,
};

//! Where a value is read, relative to where it is written.
struct Offset
{
    int32_t dy;
    int32_t dx;
};

//! Segment s covers the channels from begin[s] up to begin[s + 1], the last one all channels that follow.
struct ShiftTable
{
    int32_t segments{1};
    int32_t begin[kMAX_SEGMENTS]{};
    Offset offset[kMAX_SEGMENTS]{};

    //! \return the offset of a channel: a binary search, six steps at most
    S2_HOST_DEVICE Offset at(int32_t channel) const
    {
        int32_t low = 0;
        int32_t high = segments;
        while (high - low > 1)
        {
            int32_t const middle = (low + high) / 2;
            if (begin[middle] <= channel)
            {
                low = middle;
            }
            else
            {
                high = middle;
            }
        }
        return offset[low];
    }
};

//! Builds the partition from groups of (begin, end, dy, dx).
//! \param groups ascending and disjoint groups; every value is checked
//! \param values how many integers \p groups has
//! \return nullptr, or what is wrong with the groups
char const* buildShiftTable(int32_t const* groups, int32_t values, ShiftTable& table) noexcept;

} // namespace s2deploy

#endif // S2DEPLOY_SHIFT_TABLE_H
