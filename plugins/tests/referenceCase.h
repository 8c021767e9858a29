//! \file referenceCase.h
//! Reads what referenceCases.py wrote: random configurations, inputs, and the Python reference's outputs.

#ifndef S2DEPLOY_REFERENCE_CASE_H
#define S2DEPLOY_REFERENCE_CASE_H

#include "elements.h"
#include "featureShape.h"

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

namespace s2deploy
{

enum class CaseKind : int32_t
{
    kSPATIAL_SHIFT = 0,
    kSHIFT_SUM = 1,
    kSHIFT_SUM_POOL = 2,
    kGROUPS = 3, //!< groups that the reference accepts or refuses
};

struct ReferenceCase
{
    CaseKind kind;
    ElementType type;
    Layout layout;
    int32_t border;
    int32_t branches;
    int32_t batch;
    int32_t channels; //!< of x
    int32_t height;
    int32_t width;
    int32_t misalignment; //!< elements by which every buffer starts behind a 16-byte boundary
    int32_t accepted;
    std::vector<int32_t> groups;
    std::vector<uint8_t> x;
    std::vector<uint8_t> w;
    std::vector<uint8_t> expected;

    FeatureShape shape() const
    {
        return FeatureShape{batch, channels, height, width, layout};
    }

    std::string text() const;
};

//! \return an empty list where the file cannot be read or is not whole
std::vector<ReferenceCase> readCases(char const* path);

} // namespace s2deploy

#endif // S2DEPLOY_REFERENCE_CASE_H
