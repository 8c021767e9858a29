//! \file launch.cuh
//! What all launchers share: grid sizes, and the step from run-time to compile-time widths and layouts.

#ifndef S2DEPLOY_LAUNCH_CUH
#define S2DEPLOY_LAUNCH_CUH

#include "elements.h"
#include "featureShape.h"

#include <algorithm>
#include <cuda_runtime_api.h>
#include <type_traits>

namespace s2deploy
{

constexpr int32_t kTHREADS = 256;
constexpr int64_t kMAX_BLOCKS = 1 << 20;

inline uint32_t gridFor(int64_t items, int64_t itemsPerBlock)
{
    return static_cast<uint32_t>(std::min((items + itemsPerBlock - 1) / itemsPerBlock, kMAX_BLOCKS));
}

template <int32_t kVALUE>
using Constant = std::integral_constant<int32_t, kVALUE>;

template <Layout kVALUE>
using LayoutConstant = std::integral_constant<Layout, kVALUE>;

//! Calls \p launch with the width and the layout as constants; widths beyond 16 bytes are not instantiated.
template <typename S, typename Launch>
cudaError_t withConstants(int32_t packWidth, Layout layout, Launch const& launch)
{
    auto const withLayout = [&](auto width) {
        return layout == Layout::kNCHW ? launch(width, LayoutConstant<Layout::kNCHW>{})
                                       : launch(width, LayoutConstant<Layout::kNHWC>{});
    };
    switch (packWidth)
    {
    case 1: return withLayout(Constant<1>{});
    case 2: return withLayout(Constant<2>{});
    case 4: return withLayout(Constant<4>{});
    default: return withLayout(Constant<kACCESS_BYTES / static_cast<int32_t>(sizeof(S))>{});
    }
}

} // namespace s2deploy

#endif // S2DEPLOY_LAUNCH_CUH
