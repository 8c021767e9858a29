//! \file shiftSumPoolKernel.h
//! Launches ShiftSumPool: s[n, c] = sum_p sum_k x[n, k C + c, clamp(p + d(k C + c))].

#ifndef S2DEPLOY_SHIFT_SUM_POOL_KERNEL_H
#define S2DEPLOY_SHIFT_SUM_POOL_KERNEL_H

#include "elements.h"
#include "featureShape.h"
#include "shiftSumPoolSplit.h"

#include <cuda_runtime_api.h>

namespace s2deploy
{

//! Sums in float32, in an order that depends on the shape alone. Neither allocates nor synchronises.
//! \param shape of \p x; its channels are \p branches times those of \p s
//! \param s device memory of N x C floats, whatever the type of \p x; zeros where H or W is 0
//! \param workspace device memory of shiftSumPoolWorkspaceBytes()
//! \return cudaErrorInvalidValue for a shape that is not valid or too large, else the launch's error
cudaError_t launchShiftSumPool(FeatureShape const& shape, int32_t branches, ElementType type, ShiftTable const& table,
    void const* x, float* s, float* workspace, cudaStream_t stream) noexcept;

} // namespace s2deploy

#endif // S2DEPLOY_SHIFT_SUM_POOL_KERNEL_H
