//! \file tensorRt.h
//! TensorRT's headers, and which plugin interface they are for.

#ifndef S2DEPLOY_TENSOR_RT_H
#define S2DEPLOY_TENSOR_RT_H

#include <NvInferRuntime.h>

#if NV_TENSORRT_MAJOR >= 10
#define S2_PLUGIN_V3 1
#else
#define S2_PLUGIN_V3 0
#endif

#endif // S2DEPLOY_TENSOR_RT_H
