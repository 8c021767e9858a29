"""The operators that work element by element: what they give for a part of a tensor is that part of what they give."""

from __future__ import annotations

ELEMENTWISE = frozenset(
    {"Abs", "Add", "And", "Cast", "Ceil", "Celu", "Clip", "Cos", "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu"}
    | {"Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max"}
    | {"Mean", "Min", "Mish", "Mul", "Neg", "Not", "Or", "Pow", "PRelu", "Reciprocal", "Relu", "Round", "Selu"}
    | {"Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Tanh", "ThresholdedRelu", "Where"}
)
"""Operators of ONNX whose operands are broadcast to one shape, which is that of their result."""

VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze"})
"""Operators of ONNX that only change the shape of a tensor."""
