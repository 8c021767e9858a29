#include "featureShape.h"

#include <algorithm>
#include <limits>

namespace s2deploy
{

bool FeatureShape::isValid() const
{
    bool const sized = batch >= 0 && channels >= 0 && height >= 0 && width >= 0 && channels <= kMAX_EXTENT
        && height <= kMAX_EXTENT && width <= kMAX_EXTENT;
    if (!sized || isEmpty())
    {
        return sized;
    }
    int64_t const limit = std::numeric_limits<int64_t>::max() / 8;
    int64_t const plane = int64_t{height} * width;
    return channels <= limit / plane && batch <= limit / (plane * channels);
}

bool FeatureShape::isEmpty() const
{
    return batch == 0 || channels == 0 || height == 0 || width == 0;
}

int64_t FeatureShape::elementsPerSample() const
{
    return int64_t{channels} * height * width;
}

int32_t packWidth(FeatureShape const& shape, int32_t branches, ShiftTable const& table, int32_t elementBytes,
    std::initializer_list<void const*> addresses)
{
    int32_t const each = shape.channels / branches;
    auto const fits = [&](int32_t width) {
        for (void const* const address : addresses)
        {
            if (reinterpret_cast<uintptr_t>(address) % static_cast<uintptr_t>(width * elementBytes) != 0)
            {
                return false;
            }
        }
        if (shape.layout == Layout::kNCHW)
        {
            return shape.width % width == 0;
        }
        bool divides = each % width == 0;
        for (int32_t segment = 0; segment < table.segments && table.begin[segment] < shape.channels; ++segment)
        {
            divides = divides && table.begin[segment] % width == 0;
        }
        return divides;
    };
    int32_t width = kACCESS_BYTES / elementBytes;
    while (width > 1 && !fits(width))
    {
        width /= 2;
    }
    return width;
}

int64_t samplesPerLaunch(int64_t batch, int64_t packsPerSample)
{
    constexpr int64_t kMAX_PACKS = std::numeric_limits<int32_t>::max();
    return packsPerSample > kMAX_PACKS ? 0 : std::min(batch, kMAX_PACKS / std::max<int64_t>(packsPerSample, 1));
}

} // namespace s2deploy
