#include "shiftTable.h"

namespace s2deploy
{
namespace
{
constexpr int32_t kVALUES_PER_GROUP = 4;

bool isOffset(int32_t value)
{
    return value >= -kMAX_OFFSET && value <= kMAX_OFFSET;
}
} // namespace

char const* buildShiftTable(int32_t const* groups, int32_t values, ShiftTable& table) noexcept
{
    if (groups == nullptr || values <= 0 || values % kVALUES_PER_GROUP != 0)
    {
        return "groups is not a list of begin, end, dy, dx";
    }
    ShiftTable result;
    int32_t segments = 0;
    int32_t covered = 0;
    for (int32_t at = 0; at < values; at += kVALUES_PER_GROUP)
    {
        int32_t const begin = groups[at];
        int32_t const end = groups[at + 1];
        Offset const offset{groups[at + 2], groups[at + 3]};
        if (begin < covered || end <= begin || end > kMAX_EXTENT)
        {
            return "groups are not ascending, disjoint and of at least one channel each";
        }
        if (!isOffset(offset.dy) || !isOffset(offset.dx))
        {
            return "an offset is beyond 1048576";
        }
        bool const gap = begin > covered;
        if (segments + (gap ? 2 : 1) >= kMAX_SEGMENTS)
        {
            return "there are more than 63 runs of channels";
        }
        if (gap)
        {
            result.begin[segments] = covered;
            result.offset[segments] = Offset{0, 0};
            ++segments;
        }
        result.begin[segments] = begin;
        result.offset[segments] = offset;
        ++segments;
        covered = end;
    }
    result.begin[segments] = covered;
    result.offset[segments] = Offset{0, 0};
    result.segments = segments + 1;
    table = result;
    return nullptr;
}

} // namespace s2deploy
