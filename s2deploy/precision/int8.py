"""int8 as a property of the graph: QuantizeLinear and DequantizeLinear around the factors of heavy operators.

Before: float32 weights and activations.
After: both factors of every MatMul, Gemm, Conv and ConvTranspose pass through a Q/DQ pair: activations with one scale
each, out of calibration, constant weights with one scale per output channel. Scales are symmetric (zero point 0), as
TensorRT wants them; weights stay float32 in the graph in front of their pair, which every parser from 8.5 on takes.
Kept in float32: everything else: outputs and biases of the heavy operators, operators between them, shape arithmetic,
and what the caller names. There is no mixture with 16 bits: what int8 does not cover is float32.
Preserves: movement. A pair sits in front of the operator that needs it, behind all movement; one scale per activation
commutes with moving elements, so a builder that wants to move int8 moves the pair up through movement by itself.
Refused: a heavy operator that would stay float32: an Einsum, or one within a branch or loop.
Source: onnxruntime.quantization places the pairs; the ranges are of `ranges`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from s2deploy.errors import BuildError
from s2deploy.precision.graph import finish, is_heavy

if TYPE_CHECKING:
    import onnx_ir as ir

QUANTIZED_OPERATORS = ("MatMul", "Gemm", "Conv", "ConvTranspose")
_OLDEST_OPSET = 13  # below, QuantizeLinear has no axis


def is_quantized(model: ir.Model) -> bool:
    """Whether a model has Q/DQ pairs or integer products already."""
    marks = ("DequantizeLinear", "QuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")
    return any(node.op_type in marks for node in model.graph.all_nodes())


def quantized_nodes(model: ir.Model, kept: Collection[str]) -> list[ir.Node]:
    """Returns the nodes of the main graph that int8 covers."""
    import onnx_ir as ir

    return [
        node
        for node in model.graph
        if node.op_type in QUANTIZED_OPERATORS
        and is_heavy(node)
        and node.name not in kept
        and all(value is not None and value.dtype == ir.DataType.FLOAT for value in node.inputs[:2])
    ]


def activations(nodes: Collection[ir.Node]) -> list[str]:
    """Returns the names of the factors that are no constants, each once."""
    factors = (value for node in nodes for value in node.inputs[:2] if value is not None)
    return list(dict.fromkeys(str(value.name) for value in factors if value.const_value is None))


def eight_bit_typed(model: ir.Model, nodes: Collection[ir.Node], largest: Mapping[str, float]) -> ir.Model:
    """Returns a copy of a normalised model with Q/DQ pairs in front of nodes.

    Args:
        model: A model out of `graph.normalised`; it stays as it is.
        nodes: Out of `quantized_nodes`.
        largest: The range of every one of `activations`.

    Raises:
        BuildError: onnxruntime cannot quantise the model.
    """
    import onnx_ir as ir

    opset = model.opset_imports.get("", 1)
    if opset < _OLDEST_OPSET:
        raise BuildError(
            f"the model is of opset {opset}; scales per channel need {_OLDEST_OPSET}",
            hint=f"export the model again with opset {_OLDEST_OPSET} or newer",
        )
    try:
        typed: ir.Model = ir.from_proto(_with_pairs(ir.to_proto(model), nodes, largest))
    except Exception as error:  # the quantiser raises ValueError, AssertionError, RuntimeError and numpy's errors
        raise BuildError(
            f"the model cannot be quantised: {type(error).__name__}: {error}", hint="build it without --int8"
        ) from error
    before = {node.name: node for node in model.graph}
    for node in typed.graph:  # it sets beta to 1, for a bias it was told to leave alone
        if node.op_type == "Gemm" and node.name in before and "beta" in before[node.name].attributes:
            node.attributes.add(before[node.name].attributes["beta"])
    finish(typed)
    return typed


def _with_pairs(proto: Any, nodes: Collection[ir.Node], largest: Mapping[str, float]) -> Any:
    from onnxruntime.quantization import QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData

    seen = TensorsData(
        CalibrationMethod.MinMax,
        {name: (np.array(-value, np.float32), np.array(value, np.float32)) for name, value in largest.items()},
    )
    quantizer = QDQQuantizer(
        proto,
        True,  # one scale per channel of a weight
        False,  # all eight bits
        QuantType.QInt8,
        QuantType.QInt8,
        seen,
        [str(node.name) for node in nodes],
        [],
        list(QUANTIZED_OPERATORS),
        {
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "AddQDQPairToWeight": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": list(QUANTIZED_OPERATORS),
            "QDQOpTypePerChannelSupportToAxis": {"MatMul": -1},
            "TensorQuantOverrides": _left_factors(nodes),
        },
    )
    quantizer.quantize_model()
    return quantizer.model.model


def _left_factors(nodes: Collection[ir.Node]) -> dict[str, list[dict[str, Any]]]:
    """Gives constants on the left of a product one scale: their columns are summed over, so they can share no other."""
    from onnxruntime.quantization import QuantType

    names = {str(node.inputs[0].name) for node in nodes if node.inputs[0] and node.inputs[0].const_value is not None}
    return {name: [{"quant_type": QuantType.QInt8, "symmetric": True}] for name in names}
