#pragma once

#include "s2deploy/tensor.h"

#include <vector>

//! \file Checks what an engine is called with against its inputs and outputs, before anything runs.

namespace s2deploy
{

//! \throws UsageError A name is missing or unknown, or a type, number of axes or fixed size does not fit.
void checkInputs(Inputs const& given, std::vector<TensorInfo> const& known);

//! \throws UsageError A name is missing or unknown, or a number of axes or fixed size does not fit.
void checkShapes(Shapes const& given, std::vector<TensorInfo> const& known);

//! \throws UsageError A name is missing or unknown.
void checkOutputs(Outputs const& given, std::vector<TensorInfo> const& known);

} // namespace s2deploy
