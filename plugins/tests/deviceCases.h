//! \file deviceCases.h
//! Runs every reference case on a GPU, directly and out of a CUDA graph.

#ifndef S2DEPLOY_DEVICE_CASES_H
#define S2DEPLOY_DEVICE_CASES_H

#include "referenceCase.h"

#include <cuda_runtime_api.h>
#include <functional>

namespace s2deploy
{

struct DeviceBuffers
{
    void const* x;
    void const* w;
    void* y;
    void* workspace;
    cudaStream_t stream;
};

//! \param takesBfloat16 false leaves cases of bfloat16 out
//! \param launch starts the operator on the stream; false where that fails
//! \return 0, 1 where a case failed, 77 where there is no GPU
int runOnDevice(char const* name, char const* casesPath, bool takesBfloat16,
    std::function<bool(ReferenceCase const&, DeviceBuffers const&)> const& launch);

} // namespace s2deploy

#endif // S2DEPLOY_DEVICE_CASES_H
