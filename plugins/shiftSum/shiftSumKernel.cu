#include "shiftSumKernel.h"

#include "launch.cuh"
#include "shiftSumItem.h"

namespace s2deploy
{
namespace
{
//! The number of branches that has code of its own: that of split attention.
constexpr int32_t kUSUAL_BRANCHES = 3;

template <typename E, int32_t kWIDTH, Layout kLAYOUT, int32_t kBRANCHES, typename S = typename E::Storage>
__global__ void __launch_bounds__(kTHREADS) shiftSumKernel(__grid_constant__ ShiftSumArguments const arguments,
    S const* __restrict__ x, S const* __restrict__ w, S* __restrict__ y, uint32_t packs)
{
    uint32_t const step = gridDim.x * kTHREADS;
    for (uint32_t item = blockIdx.x * kTHREADS + threadIdx.x; item < packs; item += step)
    {
        storePack(y + int64_t{item} * kWIDTH, shiftSumItem<E, kWIDTH, kLAYOUT, kBRANCHES>(arguments, x, w, item));
    }
}

template <typename E, typename S = typename E::Storage>
cudaError_t launch(FeatureShape const& shape, int32_t branches, ShiftTable const& table, S const* x, S const* w, S* y,
    cudaStream_t stream)
{
    int32_t const width = packWidth(shape, branches, table, sizeof(S), {x, w, y});
    int64_t const read = shape.elementsPerSample();
    int64_t const written = read / branches;
    int64_t const samples = samplesPerLaunch(shape.batch, written / width);
    if (samples == 0)
    {
        return cudaErrorInvalidValue;
    }
    ShiftSumArguments const arguments(shape, branches, table, width);
    for (int64_t first = 0; first < shape.batch; first += samples)
    {
        uint32_t const packs = static_cast<uint32_t>(std::min(samples, shape.batch - first) * (written / width));
        cudaError_t const status = withConstants<S>(width, shape.layout, [&](auto packWidth, auto layout) {
            auto const kernel = branches == kUSUAL_BRANCHES
                ? shiftSumKernel<E, packWidth(), layout(), kUSUAL_BRANCHES>
                : shiftSumKernel<E, packWidth(), layout(), 0>;
            kernel<<<gridFor(packs, kTHREADS), kTHREADS, 0, stream>>>(
                arguments, x + first * read, w + first * shape.channels, y + first * written, packs);
            return cudaPeekAtLastError();
        });
        if (status != cudaSuccess)
        {
            return status;
        }
    }
    return cudaSuccess;
}

template <typename E>
cudaError_t launchElements(FeatureShape const& shape, int32_t branches, ShiftTable const& table, void const* x,
    void const* w, void* y, cudaStream_t stream)
{
    using S = typename E::Storage;
    return launch<E>(
        shape, branches, table, static_cast<S const*>(x), static_cast<S const*>(w), static_cast<S*>(y), stream);
}
} // namespace

cudaError_t launchShiftSum(FeatureShape const& shape, int32_t branches, ElementType type, ShiftTable const& table,
    void const* x, void const* w, void* y, cudaStream_t stream) noexcept
{
    if (!shape.isValid() || branches < 1 || shape.channels % branches != 0)
    {
        return cudaErrorInvalidValue;
    }
    if (shape.isEmpty())
    {
        return cudaSuccess;
    }
    switch (type)
    {
    case ElementType::kFLOAT32: return launchElements<Float32>(shape, branches, table, x, w, y, stream);
    case ElementType::kFLOAT16: return launchElements<Float16>(shape, branches, table, x, w, y, stream);
    case ElementType::kBFLOAT16: return launchElements<Bfloat16>(shape, branches, table, x, w, y, stream);
    }
    return cudaErrorInvalidValue;
}

} // namespace s2deploy
