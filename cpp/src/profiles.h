#pragma once

#include "s2deploy/engine.h"

#include <NvInferRuntime.h>

#include <vector>

namespace s2deploy
{

//! The profile tuned for shapes nearest to these, among those that take them.
//!
//! \param shapes One per input.
//! \throws UsageError None takes them.
std::size_t nearestProfile(std::vector<Profile> const& profiles, Shapes const& shapes);

//! Profiles of a deserialized engine, in its order; one of fixed shapes where all are.
std::vector<Profile> profilesOf(nvinfer1::ICudaEngine const& engine, std::vector<TensorInfo> const& inputs);

//! Whether a shape has dynamic sizes.
bool isDynamic(Shape const& shape) noexcept;

} // namespace s2deploy
