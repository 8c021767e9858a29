//! \file indexTest.cpp
//! Runs the code of every thread on the CPU and compares with the Python reference: indexTest CASES

#include "checks.h"
#include "hostElements.h"
#include "referenceCase.h"
#include "shiftSumItem.h"
#include "shiftSumPoolItem.h"
#include "shiftSumPoolSplit.h"
#include "spatialShiftItem.h"

#include <cstdlib>
#include <memory>
#include <random>

namespace s2deploy
{
namespace
{
int32_t gWidths[17]{}; //!< cases by the bytes of their packs

//! Memory of exactly the size asked for behind a 16-byte boundary, so that a sanitizer sees a read beyond either end.
template <typename S>
class Buffer
{
public:
    Buffer(size_t elements, int32_t misalignment)
        : mBytes(allocate((elements + static_cast<size_t>(misalignment)) * sizeof(S)), std::free)
        , mData(static_cast<S*>(mBytes.get()) + misalignment)
    {
    }

    Buffer(std::vector<uint8_t> const& bytes, int32_t misalignment)
        : Buffer(bytes.size() / sizeof(S), misalignment)
    {
        if (!bytes.empty())
        {
            memcpy(mData, bytes.data(), bytes.size());
        }
    }

    S* data() const
    {
        return mData;
    }

private:
    static void* allocate(size_t bytes)
    {
        void* address = nullptr;
        return posix_memalign(&address, 16, bytes) == 0 ? address : nullptr;
    }

    std::unique_ptr<void, void (*)(void*)> mBytes;
    S* mData;
};

//! Calls \p run with the pack width and the layout as constants, as the launchers do.
template <typename S, typename Run>
void withConstants(int32_t width, Layout layout, Run const& run)
{
    ++gWidths[width * static_cast<int32_t>(sizeof(S))];
    auto const withLayout = [&](auto constant) {
        if (layout == Layout::kNCHW)
        {
            run(constant, std::integral_constant<Layout, Layout::kNCHW>{});
        }
        else
        {
            run(constant, std::integral_constant<Layout, Layout::kNHWC>{});
        }
    };
    switch (width)
    {
    case 1: withLayout(std::integral_constant<int32_t, 1>{}); break;
    case 2: withLayout(std::integral_constant<int32_t, 2>{}); break;
    case 4: withLayout(std::integral_constant<int32_t, 4>{}); break;
    default: withLayout(std::integral_constant<int32_t, 16 / static_cast<int32_t>(sizeof(S))>{});
    }
}

template <typename S>
void runSpatialShift(ReferenceCase const& c, ShiftTable const& table)
{
    FeatureShape const shape = c.shape();
    Buffer<S> const x(c.x, c.misalignment);
    Buffer<S> const y(c.expected.size() / sizeof(S), c.misalignment);
    int32_t const width = packWidth(shape, 1, table, sizeof(S), {x.data(), y.data()});
    SpatialShiftArguments const arguments(shape, table, static_cast<Border>(c.border), width);
    withConstants<S>(width, shape.layout, [&](auto w, auto layout) {
        uint32_t const packs = static_cast<uint32_t>(c.expected.size() / sizeof(S) / w());
        for (uint32_t item = 0; item < packs; ++item)
        {
            storePack(y.data() + item * w(), spatialShiftItem<w(), layout()>(arguments, x.data(), item));
        }
    });
    bool const equal = c.expected.empty() || memcmp(y.data(), c.expected.data(), c.expected.size()) == 0;
    check(equal, c.text());
}

template <typename E, typename S = typename E::Storage>
void runShiftSum(ReferenceCase const& c, ShiftTable const& table)
{
    FeatureShape const shape = c.shape();
    Buffer<S> const x(c.x, c.misalignment);
    Buffer<S> const w(c.w, c.misalignment);
    Buffer<S> const expected(c.expected, 0);
    size_t const elements = c.expected.size() / sizeof(S);
    Buffer<S> const y(elements, c.misalignment);
    int32_t const width = packWidth(shape, c.branches, table, sizeof(S), {x.data(), w.data(), y.data()});
    ShiftSumArguments const arguments(shape, c.branches, table, width);
    withConstants<S>(width, shape.layout, [&](auto k, auto layout) {
        uint32_t const packs = static_cast<uint32_t>(elements / k());
        for (uint32_t item = 0; item < packs; ++item)
        {
            auto const pack = c.branches == 3
                ? shiftSumItem<E, k(), layout(), 3>(arguments, x.data(), w.data(), item)
                : shiftSumItem<E, k(), layout(), 0>(arguments, x.data(), w.data(), item);
            storePack(y.data() + item * k(), pack);
        }
    });
    bool equal = true;
    for (size_t at = 0; at < elements; ++at)
    {
        equal = equal && E::toFloat(y.data()[at]) == E::toFloat(expected.data()[at]);
    }
    check(equal, c.text());
}

template <typename E, typename S = typename E::Storage>
void runShiftSumPool(ReferenceCase const& c, ShiftTable const& table)
{
    FeatureShape const shape = c.shape();
    Buffer<S> const x(c.x, c.misalignment);
    Buffer<float> const expected(c.expected, 0);
    int32_t const width = packWidth(shape, c.branches, table, sizeof(S), {x.data()});
    ShiftSumPoolArguments const arguments(shape, c.branches, table, width);
    int32_t const channels = arguments.channels;
    bool equal = true;
    withConstants<S>(width, shape.layout, [&](auto k, auto layout) {
        constexpr int32_t kTHREADS = 3; // any number of threads gives the same sum
        PoolSplit const split = splitPositions(shape, channels, k());
        uint32_t const positions = static_cast<uint32_t>(shape.height * shape.width);
        for (int64_t at = 0; at < shape.batch * channels; at += layout() == Layout::kNCHW ? 1 : k())
        {
            int64_t const sample = at / channels;
            int32_t const channel = static_cast<int32_t>(at % channels);
            float sums[k()]{};
            if constexpr (layout() == Layout::kNCHW)
            {
                for (uint32_t thread = 0; thread < kTHREADS; ++thread)
                {
                    sums[0] += poolColumns<E, k()>(arguments, x.data(), sample, channel, thread, kTHREADS);
                }
                equal = equal && sums[0] == expected.data()[at];
                continue;
            }
            S const* const map = x.data() + sample * positions * static_cast<uint32_t>(shape.channels);
            for (int32_t slice = 0; slice < split.slices; ++slice)
            {
                uint32_t const begin = static_cast<uint32_t>(slice * split.positionsPerSlice);
                uint32_t const end = std::min(begin + static_cast<uint32_t>(split.positionsPerSlice), positions);
                for (uint32_t thread = 0; thread < kTHREADS; ++thread)
                {
                    poolPositions<E, k()>(arguments, map, channel, begin + thread, end, kTHREADS, sums);
                }
            }
            for (int32_t e = 0; e < k(); ++e)
            {
                equal = equal && sums[e] == expected.data()[at + e];
            }
        }
    });
    check(equal, c.text());
}

void runCase(ReferenceCase const& c)
{
    ShiftTable table;
    char const* const error = buildShiftTable(c.groups.data(), static_cast<int32_t>(c.groups.size()), table);
    check((error == nullptr) == (c.accepted != 0), c.text() + ": " + (error == nullptr ? "accepted" : error));
    if (c.kind == CaseKind::kGROUPS || error != nullptr)
    {
        return;
    }
    bool const narrow = c.type != ElementType::kFLOAT32;
    bool const half = c.type == ElementType::kFLOAT16;
    switch (c.kind)
    {
    case CaseKind::kSPATIAL_SHIFT:
        narrow ? runSpatialShift<uint16_t>(c, table) : runSpatialShift<uint32_t>(c, table);
        break;
    case CaseKind::kSHIFT_SUM:
        !narrow ? runShiftSum<Float32>(c, table)
                : half ? runShiftSum<HostFloat16>(c, table) : runShiftSum<HostBfloat16>(c, table);
        break;
    default:
        !narrow ? runShiftSumPool<Float32>(c, table)
                : half ? runShiftSumPool<HostFloat16>(c, table) : runShiftSumPool<HostBfloat16>(c, table);
    }
}

void testDivision()
{
    std::mt19937 random(0);
    for (int32_t round = 0; round < 200000; ++round)
    {
        uint32_t const divisor = std::max<uint32_t>(random() >> (1 + random() % 31), 1);
        uint32_t const value = round % 4 == 0 ? 0x7FFFFFFFU - random() % 4 : random() >> 1;
        check(FastDivide(divisor).quotient(value) == value / divisor,
            std::to_string(value) + " / " + std::to_string(divisor));
    }
}

void testTimesRead()
{
    for (int32_t extent = 1; extent < 8; ++extent)
    {
        for (int32_t offset = -10; offset <= 10; ++offset)
        {
            std::vector<int32_t> counted(static_cast<size_t>(extent));
            for (int32_t i = 0; i < extent; ++i)
            {
                ++counted[static_cast<size_t>(clampTo(i + offset, extent))];
            }
            for (int32_t source = 0; source < extent; ++source)
            {
                check(timesRead(source, offset, extent) == counted[static_cast<size_t>(source)],
                    "position " + std::to_string(source) + " of " + std::to_string(extent) + " shifted by "
                        + std::to_string(offset));
            }
        }
    }
}

//! Every position is in one slice, and the workspace is large enough for every batch up to the largest.
void testPoolSplit()
{
    std::mt19937 random(1);
    for (int32_t round = 0; round < 20000; ++round)
    {
        FeatureShape const shape{static_cast<int64_t>(1 + random() % 300), static_cast<int32_t>(1 + random() % 600),
            static_cast<int32_t>(random() % 200), static_cast<int32_t>(random() % 200), Layout::kNHWC};
        PoolSplit const split = splitPositions(shape, shape.channels, 1);
        int64_t const positions = int64_t{shape.height} * shape.width;
        int64_t const covered = int64_t{split.slices} * split.positionsPerSlice;
        check(covered >= positions && (split.slices == 1 || covered - positions < split.positionsPerSlice),
            "slices of " + std::to_string(positions));
        check(split.tiles * split.packsPerTile >= shape.channels && split.packsPerTile <= 32, "tiles");
        size_t const needed = static_cast<size_t>(shape.batch * split.slices * shape.channels) * sizeof(float);
        check(needed <= shiftSumPoolWorkspaceBytes(shape.batch, shape.channels, Layout::kNHWC), "workspace");
    }
}

void testLimits()
{
    check(samplesPerLaunch(64, int64_t{1} << 28) == 7, "samples of 2^28 packs");
    check(samplesPerLaunch(64, 0x7FFFFFFF) == 1, "samples of 2^31 - 1 packs");
    check(samplesPerLaunch(64, int64_t{1} << 31) == 0, "samples of 2^31 packs");
    check(samplesPerLaunch(3, 10) == 3, "small samples");
    check((FeatureShape{1, 3, 5, 7, Layout::kNCHW}).isValid(), "a small shape");
    check(!(FeatureShape{1, -1, 5, 7, Layout::kNCHW}).isValid(), "a negative size");
    check(!(FeatureShape{1, 1, 1, kMAX_EXTENT + 1, Layout::kNCHW}).isValid(), "a size beyond the limit");
    check(!(FeatureShape{1 << 20, 1 << 20, 1 << 20, 1 << 20, Layout::kNCHW}).isValid(), "a volume beyond 64 bits");
    check((FeatureShape{0, kMAX_EXTENT, kMAX_EXTENT, kMAX_EXTENT, Layout::kNCHW}).isValid(), "an empty shape");
}
} // namespace
} // namespace s2deploy

int main(int argc, char** argv)
{
    using namespace s2deploy;
    std::vector<ReferenceCase> const cases = readCases(argc == 2 ? argv[1] : "");
    check(!cases.empty(), "no cases: indexTest CASES");
    for (ReferenceCase const& c : cases)
    {
        runCase(c);
    }
    for (int32_t bytes = 2; bytes <= 16; bytes *= 2)
    {
        check(gWidths[bytes] > 0, "no case moved packs of " + std::to_string(bytes) + " bytes");
    }
    testDivision();
    testTimesRead();
    testPoolSplit();
    testLimits();
    std::printf("%zu cases; packs of 2, 4, 8, 16 bytes in %d, %d, %d, %d\n", cases.size(), gWidths[2], gWidths[4],
        gWidths[8], gWidths[16]);
    return finish("indexTest");
}
