#pragma once

#include "options.h"

#include <s2deploy/tensor.h>

#include <filesystem>
#include <vector>

//! The images and raw samples of a folder, in the order of their names.
//!
//! \throws s2deploy::UsageError There are none.
std::vector<std::filesystem::path> listSamples(std::filesystem::path const& folder);

//! The shape of one sample, without the batch: C x H x W of an image, as the plan was tuned for of raw samples.
//!
//! \param typical The shape the plan was tuned for, with the batch.
s2deploy::Shape sampleShape(std::filesystem::path const& sample, s2deploy::Shape const& typical);

//! Reads a sample: channels of an image one after the other, from 0 to 1 and then normalized; raw samples as they are.
//!
//! \param to Memory for the elements of the shape.
//! \throws s2deploy::UsageError It is no such file, or of another shape.
void readSample(
    std::filesystem::path const& sample, s2deploy::Shape const& shape, Options const& options, float* to);
