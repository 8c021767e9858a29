"""What of a typed graph computes in float32 all the same, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from s2deploy.precision.brain import without_form
from s2deploy.precision.census import operator
from s2deploy.precision.functions import gives_float32
from s2deploy.precision.graph import shape_arithmetic
from s2deploy.precision.half import ACCUMULATING, blocked_operators
from s2deploy.precision.kept import meanings
from s2deploy.specs import Precision

if TYPE_CHECKING:
    import onnx_ir as ir

_CONVERSIONS = frozenset({"Cast", "Constant", "QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True)
class Wide:
    """Operators that stay in float32 for one reason.

    Attributes:
        reason: Why.
        operators: How many of each, the most frequent first.
    """

    reason: str
    operators: dict[str, int]


def stays_wide(model: ir.Model, precision: Precision, asked: Collection[str] = ()) -> tuple[Wide, ...]:
    """Returns the operators of a typed graph that give or take float32, conversions aside.

    Args:
        model: A graph typed for the precision, with the types of its values.
        precision: What it was typed for; nothing stays wider than float32.
        asked: Nodes and operator types that `PrecisionOptions.keep_fp32` names.
    """
    if precision is Precision.FP32:
        return ()
    reason_of = _reasons(model, precision, asked)
    found: dict[str, Counter[str]] = {}
    for node in model.graph.all_nodes():
        if node.op_type not in _CONVERSIONS and _is_wide(node):
            found.setdefault(reason_of(node), Counter())[operator(node)] += 1
    return tuple(Wide(reason, dict(count.most_common())) for reason, count in found.items())


def _reasons(model: ir.Model, precision: Precision, asked: Collection[str]) -> Callable[[ir.Node], str]:
    sizes = {node.name for node in shape_arithmetic(model.graph)}
    known = meanings(model)
    kept = {name for text in asked for name in known.get(text, ())}
    blocked = blocked_operators(model.opset_imports.get("", 1))
    formless = set(without_form(model)) if precision is Precision.BF16 else set()

    def reason(node: ir.Node) -> str:
        if node.name in kept:
            return "asked for with --keep-fp32"
        if node.name in sizes:
            return "arithmetic on sizes"
        if precision is Precision.INT8:
            return "int8 is for matrix products and convolutions"
        if node.op_type in ACCUMULATING or gives_float32(node):
            return "sums and powers, which leave the range or precision of 16 bits"
        if node.name in formless:
            return "no bfloat16 form in ONNX"
        if node.op_type in blocked:
            return "no safe float16 form in onnxruntime's converter"
        return "between operators in float32"

    return reason


def _is_wide(node: ir.Node) -> bool:
    import onnx_ir as ir

    if node.op_type in ("Shape", "Size"):
        return False
    if any(value.dtype == ir.DataType.FLOAT for value in node.outputs):
        return not _reads_quantized(node)
    # comparisons, ArgMax and the like compute in the type of what they read
    floats = {value.dtype for value in node.inputs if value is not None}
    return ir.DataType.FLOAT in floats and not any(
        value.dtype is not None and value.dtype.is_floating_point() for value in node.outputs
    )


def _reads_quantized(node: ir.Node) -> bool:
    makers = [value.producer() for value in node.inputs[:2] if value is not None]
    return bool(makers) and all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)
