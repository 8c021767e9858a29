"""Compute capabilities a TensorRT-RTX plan can be built for, and what each of them computes.

Measured with TensorRT-RTX 1.7.1, strongly typed, each capability alone and all together:

=============================================  =====  ========================
operators                                      7.5    8.0, 8.6, 8.9, 12.0, 12.1
=============================================  =====  ========================
float16 MatMul, Gemm, Einsum                   yes    yes
float32 MatMul, Gemm, Einsum, LSTM, GRU, RNN   no     yes
float32 and float16 Conv, ConvTranspose        yes    yes
float32 and float16 element-wise, reductions,
Softmax, LayerNormalization, pooling, Resize   yes    yes
anything in bfloat16                           no     yes
=============================================  =====  ========================

One capability that cannot fails the whole plan.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from s2deploy.errors import CapabilityError

if TYPE_CHECKING:
    import onnx_ir as ir

Capability = tuple[int, int]

KNOWN: tuple[Capability, ...] = ((7, 5), (8, 0), (8, 6), (8, 9), (12, 0), (12, 1))
TURING: Capability = (7, 5)
_MATRIX_PRODUCTS = frozenset({"MatMul", "Gemm", "Einsum", "LSTM", "GRU", "RNN"})


def choose(asked: Sequence[Capability], model: ir.Model) -> tuple[Capability, ...]:
    """Returns the capabilities to build for: those asked for, or all the model's types exist on.

    Args:
        asked: Capabilities out of `KNOWN`; none means all that can.
        model: The typed model, with the types of its values.

    Raises:
        CapabilityError: The model computes in a type that one of them lacks.
    """
    lacking = _lacking_on_turing(model)
    if not asked:
        return tuple(capability for capability in KNOWN if capability != TURING or lacking is None)
    if TURING in asked and lacking is not None:
        raise CapabilityError(
            f"compute capability 7.5 has no {lacking}",
            hint="leave 7.5 out" + ("" if lacking.startswith("bfloat16") else ", or build with --fp16"),
        )
    return tuple(asked)


def parse(text: str) -> Capability:
    """Parses a capability such as ``8.6``.

    Raises:
        CapabilityError: It is not one of `KNOWN`.
    """
    match = re.fullmatch(r"(\d+)\.(\d+)", text.strip())
    capability = (int(match[1]), int(match[2])) if match else None
    if capability not in KNOWN:
        raise CapabilityError(
            f"unknown compute capability {text!r}", hint=f"TensorRT-RTX builds for {', '.join(names(KNOWN))}"
        )
    return capability


def names(capabilities: Iterable[Capability]) -> tuple[str, ...]:
    """Returns capabilities as text, e.g. ``("8.0", "8.9")``."""
    return tuple(f"{major}.{minor}" for major, minor in capabilities)


def _lacking_on_turing(model: ir.Model) -> str | None:
    """Returns what the model computes that 7.5 cannot, with an example node; None where there is nothing."""
    import onnx_ir as ir

    for node in model.graph.all_nodes():
        types = {value.dtype for value in (*node.inputs, *node.outputs) if value is not None}
        where = f"({node.op_type} {node.name or node.outputs[0].name!r})"
        if ir.DataType.BFLOAT16 in types:
            return f"bfloat16 {where}"
        if node.op_type in _MATRIX_PRODUCTS and ir.DataType.FLOAT16 not in types:
            return f"fp32 matrix product {where}"
    return None
