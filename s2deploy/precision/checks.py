"""What a typed graph must hold before anything is built from it: heavy operators in their type, and valid types."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from s2deploy.errors import BuildError, ValidationError
from s2deploy.precision.graph import is_heavy, some
from s2deploy.precision.sessions import opened
from s2deploy.specs import Precision

if TYPE_CHECKING:
    import onnx_ir as ir


def check_sixteen_bits(model: ir.Model, precision: Precision, kept: Collection[str]) -> None:
    """Checks that every heavy operator that is not kept computes in the 16-bit type, or in integers.

    Raises:
        BuildError: One does not, by name.
    """
    import onnx_ir as ir

    kinds = ir.DataType
    wanted = kinds.FLOAT16 if precision is Precision.FP16 else kinds.BFLOAT16
    allowed = (None, wanted, kinds.INT32, kinds.INT64, kinds.UINT32, kinds.UINT64)
    for node in model.graph.all_nodes():
        if not is_heavy(node) or node.name in kept:
            continue
        wrong = next((value.dtype for value in node.inputs if value is not None and value.dtype not in allowed), None)
        if wrong is not None:
            raise BuildError(
                f"{node.op_type} {node.name!r} would compute in {wrong.name.lower()} instead of {wanted.name.lower()}",
                hint="give a model of float32 weights and activations, or build it in fp32",
            )


def check_eight_bits(model: ir.Model, kept: Collection[str]) -> None:
    """Checks that every heavy operator that is not kept reads its factors from DequantizeLinear.

    Raises:
        BuildError: Some do not, by name.
    """
    wider = [f"{node.op_type} {node.name!r}" for node in model.graph.all_nodes() if _stays_float(node, kept)]
    if wider:
        raise BuildError(
            f"computed in float32 instead of int8: {some(wider)}",
            hint="name what may stay float32 by --keep-fp32 (onnxruntime quantises MatMul, Gemm, Conv and ConvTranspose"
            " outside of branches and loops)",
        )


def check_loads(model: ir.Model, precision: Precision) -> None:
    """Lets onnxruntime check every type; it computes 16-bit types in float32, so this says nothing of overflow.

    Raises:
        BuildError: The graph is not valid.
        ArtifactError: The folder for temporary files is full.
    """
    try:
        with opened(model):
            pass
    except ValidationError as error:
        raise BuildError(
            f"the model is not valid once typed for {precision.value}: {error.message}",
            hint=f"build it without --{precision.value}",
        ) from error


def _stays_float(node: ir.Node, kept: Collection[str]) -> bool:
    import onnx_ir as ir

    if not is_heavy(node) or node.name in kept:
        return False
    factors = node.inputs if node.op_type == "Einsum" else node.inputs[:2]
    return any(
        value is not None
        and value.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE, None)
        and getattr(value.producer(), "op_type", None) != "DequantizeLinear"
        for value in factors
    )
