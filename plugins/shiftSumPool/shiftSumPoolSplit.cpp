#include "shiftSumPoolSplit.h"

#include <algorithm>

namespace s2deploy
{
namespace
{
constexpr int64_t kTARGET_BLOCKS = 1024; //!< several for each multiprocessor of the largest GPUs
constexpr int32_t kMIN_POSITIONS = 32;   //!< less is not worth a slice
constexpr int32_t kMAX_TILE = 32;

int64_t ceilDivide(int64_t value, int64_t divisor)
{
    return (value + divisor - 1) / divisor;
}
} // namespace

PoolSplit splitPositions(FeatureShape const& shape, int32_t channels, int32_t packWidth)
{
    PoolSplit split{};
    int32_t const packs = channels / packWidth;
    split.packsPerTile = 1;
    while (split.packsPerTile < std::min(packs, kMAX_TILE))
    {
        split.packsPerTile *= 2;
    }
    split.tiles = static_cast<int32_t>(ceilDivide(packs, split.packsPerTile));
    int64_t const positions = int64_t{shape.height} * shape.width;
    int64_t const blocks = std::max<int64_t>(shape.batch * split.tiles, 1);
    int64_t const wanted = std::min(ceilDivide(kTARGET_BLOCKS, blocks), ceilDivide(positions, kMIN_POSITIONS));
    int64_t const perSlice = ceilDivide(positions, std::max<int64_t>(wanted, 1));
    split.positionsPerSlice = static_cast<int32_t>(perSlice);
    split.slices = static_cast<int32_t>(std::max<int64_t>(ceilDivide(positions, std::max<int64_t>(perSlice, 1)), 1));
    return split;
}

size_t shiftSumPoolWorkspaceBytes(int64_t batch, int64_t channels, Layout layout)
{
    // batch * slices <= kTARGET_BLOCKS + batch for every batch up to this one, because a sample has at least one tile.
    return layout == Layout::kNCHW ? 0 : static_cast<size_t>((kTARGET_BLOCKS + batch) * channels) * sizeof(float);
}

} // namespace s2deploy
