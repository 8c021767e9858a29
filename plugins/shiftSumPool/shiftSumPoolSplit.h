//! \file shiftSumPoolSplit.h
//! How ShiftSumPool shares the positions of a channels-last map among blocks.

#ifndef S2DEPLOY_SHIFT_SUM_POOL_SPLIT_H
#define S2DEPLOY_SHIFT_SUM_POOL_SPLIT_H

#include "featureShape.h"

#include <cstddef>

namespace s2deploy
{

//! How the positions of N x H x W x K C are shared among blocks.
struct PoolSplit
{
    int32_t packsPerTile;      //!< threads side by side along the channels, a power of two up to 32
    int32_t tiles;             //!< tiles that cover the channels
    int32_t slices;            //!< parts of the positions; more than one needs a workspace
    int32_t positionsPerSlice; //!< positions of a part
};

//! \param channels of the output
PoolSplit splitPositions(FeatureShape const& shape, int32_t channels, int32_t packWidth);

//! \return bytes that launchShiftSumPool needs for any shape up to this batch and number of output channels
size_t shiftSumPoolWorkspaceBytes(int64_t batch, int64_t channels, Layout layout);

} // namespace s2deploy

#endif // S2DEPLOY_SHIFT_SUM_POOL_SPLIT_H
