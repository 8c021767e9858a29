//! \file shiftSumKernel.h
//! Launches ShiftSum: y[n, c, p] = sum_k w[n, k, c] * x[n, k C + c, clamp(p + d(k C + c))].

#ifndef S2DEPLOY_SHIFT_SUM_KERNEL_H
#define S2DEPLOY_SHIFT_SUM_KERNEL_H

#include "elements.h"
#include "featureShape.h"

#include <cuda_runtime_api.h>

namespace s2deploy
{

//! Sums in float32 and rounds once. Neither allocates nor synchronises, so it can be captured into a CUDA graph.
//! \param shape of \p x; its channels are \p branches times those of \p y
//! \param w device memory of N x branches x C
//! \param y device memory, apart from the inputs
//! \return cudaErrorInvalidValue for a shape that is not valid or too large, else the launch's error
cudaError_t launchShiftSum(FeatureShape const& shape, int32_t branches, ElementType type, ShiftTable const& table,
    void const* x, void const* w, void* y, cudaStream_t stream) noexcept;

} // namespace s2deploy

#endif // S2DEPLOY_SHIFT_SUM_KERNEL_H
