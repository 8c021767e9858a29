#include "spatialShiftKernel.h"

#include "launch.cuh"
#include "spatialShiftItem.h"

namespace s2deploy
{
namespace
{
//! Packs per thread and tile: all are read before the first is written, which keeps more reads in flight.
constexpr int32_t kPACKS = 2;

template <int32_t kWIDTH, Layout kLAYOUT, typename S>
__global__ void __launch_bounds__(kTHREADS) spatialShiftKernel(__grid_constant__ SpatialShiftArguments const arguments,
    S const* __restrict__ x, S* __restrict__ y, uint32_t packs)
{
    uint32_t const step = gridDim.x * (kPACKS * kTHREADS);
    for (uint32_t tile = blockIdx.x * (kPACKS * kTHREADS) + threadIdx.x; tile < packs; tile += step)
    {
        Pack<S, kWIDTH> read[kPACKS];
#pragma unroll
        for (int32_t k = 0; k < kPACKS; ++k)
        {
            uint32_t const item = tile + k * kTHREADS;
            if (item < packs)
            {
                read[k] = spatialShiftItem<kWIDTH, kLAYOUT>(arguments, x, item);
            }
        }
#pragma unroll
        for (int32_t k = 0; k < kPACKS; ++k)
        {
            uint32_t const item = tile + k * kTHREADS;
            if (item < packs)
            {
                storePack(y + int64_t{item} * kWIDTH, read[k]);
            }
        }
    }
}

template <typename S>
cudaError_t launch(FeatureShape const& shape, ShiftTable const& table, Border border, S const* x, S* y,
    cudaStream_t stream)
{
    int32_t const width = packWidth(shape, 1, table, sizeof(S), {x, y});
    int64_t const elements = shape.elementsPerSample();
    int64_t const samples = samplesPerLaunch(shape.batch, elements / width);
    if (samples == 0)
    {
        return cudaErrorInvalidValue;
    }
    SpatialShiftArguments const arguments(shape, table, border, width);
    for (int64_t first = 0; first < shape.batch; first += samples)
    {
        uint32_t const packs = static_cast<uint32_t>(std::min(samples, shape.batch - first) * (elements / width));
        cudaError_t const status = withConstants<S>(width, shape.layout, [&](auto packWidth, auto layout) {
            spatialShiftKernel<packWidth(), layout()><<<gridFor(packs, kPACKS * kTHREADS), kTHREADS, 0, stream>>>(
                arguments, x + first * elements, y + first * elements, packs);
            return cudaPeekAtLastError();
        });
        if (status != cudaSuccess)
        {
            return status;
        }
    }
    return cudaSuccess;
}
} // namespace

cudaError_t launchSpatialShift(FeatureShape const& shape, ElementType type, ShiftTable const& table, Border border,
    void const* x, void* y, cudaStream_t stream) noexcept
{
    if (!shape.isValid())
    {
        return cudaErrorInvalidValue;
    }
    if (shape.isEmpty())
    {
        return cudaSuccess;
    }
    return elementBytes(type) == 4
        ? launch(shape, table, border, static_cast<uint32_t const*>(x), static_cast<uint32_t*>(y), stream)
        : launch(shape, table, border, static_cast<uint16_t const*>(x), static_cast<uint16_t*>(y), stream);
}

} // namespace s2deploy
