#include "shiftSumPoolKernel.h"

#include "launch.cuh"
#include "shiftSumPoolItem.h"

#include <limits>

namespace s2deploy
{
namespace
{
constexpr int32_t kWARP = 32;
constexpr int32_t kPACKS_PER_THREAD = 4;

//! One block for one sum.
template <typename E, int32_t kWIDTH, typename S = typename E::Storage>
__global__ void __launch_bounds__(kTHREADS) poolColumnsKernel(
    __grid_constant__ ShiftSumPoolArguments const arguments, S const* __restrict__ x, float* __restrict__ s,
    int64_t sums)
{
    __shared__ float warpSums[kTHREADS / kWARP];
    for (int64_t at = blockIdx.x; at < sums; at += gridDim.x)
    {
        int64_t const sample = at / arguments.channels;
        int32_t const channel = static_cast<int32_t>(at - sample * arguments.channels);
        float sum = poolColumns<E, kWIDTH>(arguments, x, sample, channel, threadIdx.x, blockDim.x);
#pragma unroll
        for (int32_t distance = kWARP / 2; distance > 0; distance /= 2)
        {
            sum += __shfl_down_sync(0xFFFFFFFFU, sum, distance);
        }
        if (threadIdx.x % kWARP == 0)
        {
            warpSums[threadIdx.x / kWARP] = sum;
        }
        __syncthreads();
        if (threadIdx.x == 0)
        {
            for (uint32_t warp = 1; warp < blockDim.x / kWARP; ++warp)
            {
                sum += warpSums[warp];
            }
            s[at] = sum;
        }
        __syncthreads(); // warpSums is written again for the next sum
    }
}

//! One block for one tile of channels, one slice of positions and one sample.
template <typename E, int32_t kWIDTH, typename S = typename E::Storage>
__global__ void __launch_bounds__(kTHREADS) poolPositionsKernel(
    __grid_constant__ ShiftSumPoolArguments const arguments, S const* __restrict__ x, float* __restrict__ sums,
    PoolSplit split, int64_t blocks)
{
    __shared__ float tileSums[kTHREADS * kWIDTH];
    int32_t const pack = static_cast<int32_t>(threadIdx.x) % split.packsPerTile;
    int32_t const lane = static_cast<int32_t>(threadIdx.x) / split.packsPerTile;
    int32_t const lanes = kTHREADS / split.packsPerTile;
    int64_t const plane = int64_t{arguments.height} * arguments.width;
    for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x)
    {
        int64_t const row = block / split.tiles; // of samples times slices
        int64_t const sample = row / split.slices;
        int64_t const firstPosition = (row - sample * split.slices) * split.positionsPerSlice;
        int32_t const tile = static_cast<int32_t>(block - row * split.tiles);
        int32_t const channel = (tile * split.packsPerTile + pack) * kWIDTH;
        float sum[kWIDTH]{};
        if (channel < arguments.channels)
        {
            int64_t const last = firstPosition + split.positionsPerSlice;
            poolPositions<E, kWIDTH>(arguments, x + sample * plane * arguments.branches * arguments.channels, channel,
                static_cast<uint32_t>(firstPosition + lane), static_cast<uint32_t>(last < plane ? last : plane), lanes,
                sum);
        }
#pragma unroll
        for (int32_t e = 0; e < kWIDTH; ++e)
        {
            tileSums[e * kTHREADS + threadIdx.x] = sum[e];
        }
        __syncthreads();
        for (int32_t half = lanes / 2; half > 0; half /= 2)
        {
            if (lane < half)
            {
#pragma unroll
                for (int32_t e = 0; e < kWIDTH; ++e)
                {
                    int32_t const at = e * kTHREADS + static_cast<int32_t>(threadIdx.x);
                    tileSums[at] += tileSums[at + half * split.packsPerTile];
                }
            }
            __syncthreads();
        }
        if (lane == 0 && channel < arguments.channels)
        {
#pragma unroll
            for (int32_t e = 0; e < kWIDTH; ++e)
            {
                sums[row * arguments.channels + channel + e] = tileSums[e * kTHREADS + pack];
            }
        }
        __syncthreads(); // tileSums is written again for the next block
    }
}

__global__ void __launch_bounds__(kTHREADS) addSlicesKernel(
    float const* __restrict__ sums, float* __restrict__ s, int32_t slices, int32_t channels, int64_t count)
{
    int64_t const step = int64_t{gridDim.x} * kTHREADS;
    for (int64_t at = int64_t{blockIdx.x} * kTHREADS + threadIdx.x; at < count; at += step)
    {
        int64_t const sample = at / channels;
        float const* const first = sums + sample * slices * channels + (at - sample * channels);
        float sum = 0.0F;
        for (int32_t slice = 0; slice < slices; ++slice)
        {
            sum += first[int64_t{slice} * channels];
        }
        s[at] = sum;
    }
}

template <typename E, int32_t kWIDTH, typename S>
cudaError_t launchColumns(FeatureShape const& shape, ShiftSumPoolArguments const& arguments, S const* x, float* s,
    cudaStream_t stream)
{
    int64_t const sums = shape.batch * arguments.channels;
    int64_t const packs = int64_t{shape.height} * shape.width / kWIDTH;
    int32_t threads = kWARP;
    while (threads < kTHREADS && threads * kPACKS_PER_THREAD < packs)
    {
        threads *= 2;
    }
    poolColumnsKernel<E, kWIDTH><<<gridFor(sums, 1), threads, 0, stream>>>(arguments, x, s, sums);
    return cudaPeekAtLastError();
}

template <typename E, int32_t kWIDTH, typename S>
cudaError_t launchPositions(FeatureShape const& shape, ShiftSumPoolArguments const& arguments, S const* x, float* s,
    float* workspace, cudaStream_t stream)
{
    PoolSplit const split = splitPositions(shape, arguments.channels, kWIDTH);
    bool const whole = split.slices == 1;
    int64_t const blocks = shape.batch * split.slices * split.tiles;
    poolPositionsKernel<E, kWIDTH>
        <<<gridFor(blocks, 1), kTHREADS, 0, stream>>>(arguments, x, whole ? s : workspace, split, blocks);
    cudaError_t const status = cudaPeekAtLastError();
    if (whole || status != cudaSuccess)
    {
        return status;
    }
    int64_t const count = shape.batch * arguments.channels;
    addSlicesKernel<<<gridFor(count, kTHREADS), kTHREADS, 0, stream>>>(
        workspace, s, split.slices, arguments.channels, count);
    return cudaPeekAtLastError();
}

template <typename E, typename S = typename E::Storage>
cudaError_t launch(FeatureShape const& shape, int32_t branches, ShiftTable const& table, S const* x, float* s,
    float* workspace, cudaStream_t stream)
{
    int32_t const width = packWidth(shape, branches, table, sizeof(S), {x});
    ShiftSumPoolArguments const arguments(shape, branches, table, width);
    return withConstants<S>(width, shape.layout, [&](auto packWidth, auto layout) {
        if constexpr (layout() == Layout::kNCHW)
        {
            return launchColumns<E, packWidth()>(shape, arguments, x, s, stream);
        }
        else
        {
            return launchPositions<E, packWidth()>(shape, arguments, x, s, workspace, stream);
        }
    });
}
} // namespace

cudaError_t launchShiftSumPool(FeatureShape const& shape, int32_t branches, ElementType type, ShiftTable const& table,
    void const* x, float* s, float* workspace, cudaStream_t stream) noexcept
{
    // Positions are counted in 31 bits, steps included.
    constexpr int64_t kMAX_POSITIONS = std::numeric_limits<int32_t>::max() - kTHREADS;
    if (!shape.isValid() || branches < 1 || shape.channels % branches != 0
        || int64_t{shape.height} * shape.width > kMAX_POSITIONS)
    {
        return cudaErrorInvalidValue;
    }
    if (shape.batch == 0 || shape.channels == 0)
    {
        return cudaSuccess;
    }
    switch (type)
    {
    case ElementType::kFLOAT32:
        return launch<Float32>(shape, branches, table, static_cast<uint32_t const*>(x), s, workspace, stream);
    case ElementType::kFLOAT16:
        return launch<Float16>(shape, branches, table, static_cast<uint16_t const*>(x), s, workspace, stream);
    case ElementType::kBFLOAT16:
        return launch<Bfloat16>(shape, branches, table, static_cast<uint16_t const*>(x), s, workspace, stream);
    }
    return cudaErrorInvalidValue;
}

} // namespace s2deploy
