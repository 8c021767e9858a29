//! \file kernelsC.cpp
//! The launchers with plain arguments, for callers that are not C++: the benchmark calls them through ctypes.
//!
//! Sizes are those of x. Every function returns a cudaError_t; addresses are device memory.

#include "shiftSumKernel.h"
#include "shiftSumPoolKernel.h"
#include "spatialShiftKernel.h"

namespace
{
using namespace s2deploy;

FeatureShape shapeOf(int64_t const* nchw, int32_t channelsLast)
{
    return FeatureShape{nchw[0], static_cast<int32_t>(nchw[1]), static_cast<int32_t>(nchw[2]),
        static_cast<int32_t>(nchw[3]), static_cast<Layout>(channelsLast)};
}
} // namespace

extern "C"
{
    int32_t s2deploySpatialShift(int64_t const* nchw, int32_t channelsLast, int32_t type, int32_t const* groups,
        int32_t values, int32_t border, void const* x, void* y, void* stream)
    {
        ShiftTable table;
        return buildShiftTable(groups, values, table) != nullptr
            ? cudaErrorInvalidValue
            : launchSpatialShift(shapeOf(nchw, channelsLast), static_cast<ElementType>(type), table,
                static_cast<Border>(border), x, y, static_cast<cudaStream_t>(stream));
    }

    int32_t s2deployShiftSum(int64_t const* nchw, int32_t channelsLast, int32_t type, int32_t const* groups,
        int32_t values, int32_t branches, void const* x, void const* w, void* y, void* stream)
    {
        ShiftTable table;
        return buildShiftTable(groups, values, table) != nullptr
            ? cudaErrorInvalidValue
            : launchShiftSum(shapeOf(nchw, channelsLast), branches, static_cast<ElementType>(type), table, x, w, y,
                static_cast<cudaStream_t>(stream));
    }

    int64_t s2deployShiftSumPoolWorkspace(int64_t batch, int64_t channels, int32_t channelsLast)
    {
        return static_cast<int64_t>(shiftSumPoolWorkspaceBytes(batch, channels, static_cast<Layout>(channelsLast)));
    }

    int32_t s2deployShiftSumPool(int64_t const* nchw, int32_t channelsLast, int32_t type, int32_t const* groups,
        int32_t values, int32_t branches, void const* x, void* s, void* workspace, void* stream)
    {
        ShiftTable table;
        return buildShiftTable(groups, values, table) != nullptr
            ? cudaErrorInvalidValue
            : launchShiftSumPool(shapeOf(nchw, channelsLast), branches, static_cast<ElementType>(type), table, x,
                static_cast<float*>(s), static_cast<float*>(workspace), static_cast<cudaStream_t>(stream));
    }
}
