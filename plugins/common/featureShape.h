//! \file featureShape.h
//! The shape of a feature map, and how its work is cut into packs and launches.

#ifndef S2DEPLOY_FEATURE_SHAPE_H
#define S2DEPLOY_FEATURE_SHAPE_H

#include "pack.h"
#include "shiftTable.h"

#include <cstdint>
#include <initializer_list>

namespace s2deploy
{

enum class Layout : int32_t
{
    kNCHW = 0,
    kNHWC = 1,
};

//! N x C x H x W or N x H x W x C, contiguous.
struct FeatureShape
{
    int64_t batch;
    int32_t channels;
    int32_t height;
    int32_t width;
    Layout layout;

    bool isValid() const;
    bool isEmpty() const;
    int64_t elementsPerSample() const;
};

//! How many neighbouring elements one thread reads at once.
//!
//! The largest power of two within 16 bytes that divides the innermost axis, every boundary between channels of
//! different offsets where that axis is the channels, and the alignment of all addresses. A pack never crosses the end
//! of a row or of a group, so a kernel has one path.
//!
//! \param shape of the input
//! \param branches parts of the channels that are combined; a pack lies in one
int32_t packWidth(FeatureShape const& shape, int32_t branches, ShiftTable const& table, int32_t elementBytes,
    std::initializer_list<void const*> addresses);

//! Cuts a launch by samples so that the packs of each part can be counted in 31 bits.
//! \return samples per launch; 0 where a single sample has too many packs
int64_t samplesPerLaunch(int64_t batch, int64_t packsPerSample);

} // namespace s2deploy

#endif // S2DEPLOY_FEATURE_SHAPE_H
