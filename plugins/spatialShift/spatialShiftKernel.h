//! \file spatialShiftKernel.h
//! Launches SpatialShift: every group of channels is read at its offset.

#ifndef S2DEPLOY_SPATIAL_SHIFT_KERNEL_H
#define S2DEPLOY_SPATIAL_SHIFT_KERNEL_H

#include "elements.h"
#include "featureShape.h"

#include <cuda_runtime_api.h>

namespace s2deploy
{

//! Neither allocates nor synchronises, so it can be captured into a CUDA graph.
//! \param x device memory of \p shape
//! \param y device memory of the same shape, apart from \p x
//! \return cudaErrorInvalidValue for a shape that is not valid or too large, else the launch's error
cudaError_t launchSpatialShift(FeatureShape const& shape, ElementType type, ShiftTable const& table, Border border,
    void const* x, void* y, cudaStream_t stream) noexcept;

} // namespace s2deploy

#endif // S2DEPLOY_SPATIAL_SHIFT_KERNEL_H
