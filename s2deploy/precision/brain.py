"""bf16 as a property of the graph: float32's range with eight bits of precision, so nothing overflows.

Before: float32 weights and activations.
After: as for fp16 (see `half`), with bfloat16 in its place: weights are rounded once, from float32.
Kept in float32: what fp16 keeps, and operators whose ONNX definition at the model's opset has no bfloat16 form, except
the heavy ones: TensorRT takes a bfloat16 convolution, ONNX only from opset 22 on.
Refused: a model that has float16 in it, which bfloat16 cannot be told from.
Measured: onnxruntime 1.32 runs movement, LayerNormalization and Einsum in bfloat16 on a CPU, and no MatMul, Gemm, Conv,
Add or Mul, so the typed graph is for TensorRT alone and `emulation` measures it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from s2deploy.errors import BuildError
from s2deploy.precision.graph import is_heavy, retyped
from s2deploy.precision.half import half_typed

if TYPE_CHECKING:
    import onnx_ir as ir


def brain_typed(model: ir.Model, *, keep_io: bool = True, kept: Collection[str] = ()) -> ir.Model:
    """Returns a copy of a normalised model in which bfloat16 takes the place of float32.

    Args:
        model: A model out of `graph.normalised`; it stays as it is.
        keep_io: Whether float32 inputs and outputs stay float32.
        kept: Names of nodes that stay float32.

    Raises:
        BuildError: The model has float16 in it already, or cannot be converted.
    """
    import onnx_ir as ir

    mixed = next((value for value in _values(model) if value.dtype == ir.DataType.FLOAT16), None)
    if mixed is not None:
        raise BuildError(
            f"{mixed.name!r} is float16 already, so the model cannot be typed for bf16",
            hint="give a model of float32 weights and activations, or build this one as it is with --fp16",
        )
    typed = half_typed(model, keep_io=keep_io, kept={*kept, *without_form(model)})
    exact = {value.name: value.const_value for value in _values(model) if value.const_value is not None}
    attributes = {node.name: node.attributes for node in model.graph.all_nodes()}
    for value in _values(typed):
        if value.dtype == ir.DataType.FLOAT16:
            value.type = retyped(value.type, ir.DataType.BFLOAT16)
        tensor = value.const_value
        if tensor is not None and tensor.dtype == ir.DataType.FLOAT16:
            value.const_value = _rounded(exact.get(value.name) or tensor, value.name)
    for node in typed.graph.all_nodes():
        _retype_attributes(node, attributes.get(node.name))
    return typed


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for graph in model.graphs():
        yield from graph.inputs
        yield from graph.initializers.values()
        for node in graph:
            yield from node.outputs


def without_form(model: ir.Model) -> Iterator[str]:
    """Yields the nodes ONNX defines for float32 but not for bfloat16 at the model's opset."""
    from onnx import defs

    opset = model.opset_imports.get("", 1)
    for node in model.graph.all_nodes():
        if node.domain not in ("", "ai.onnx") or is_heavy(node):
            continue
        try:
            schema = defs.get_schema(node.op_type, opset, "")
        except defs.SchemaError:
            continue
        allowed = [set(constraint.allowed_type_strs) for constraint in schema.type_constraints]
        if any("tensor(float)" in types and "tensor(bfloat16)" not in types for types in allowed):
            yield str(node.name)


def _rounded(tensor: ir.TensorProtocol, name: str | None) -> ir.TensorProtocol:
    import ml_dtypes
    import onnx_ir as ir

    with np.errstate(over="ignore"):
        return ir.Tensor(np.asarray(tensor.numpy()).astype(ml_dtypes.bfloat16), name=name)


def _retype_attributes(node: ir.Node, exact: Mapping[str, ir.Attr] | None) -> None:
    import onnx_ir as ir

    for attribute in list(node.attributes.values()):
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.TENSOR and attribute.value.dtype == ir.DataType.FLOAT16:
            original = None if exact is None else exact.get(attribute.name)
            source = attribute.value if original is None else original.value
            node.attributes.add(ir.AttrTensor(attribute.name, _rounded(source, attribute.value.name)))
        elif attribute.name in ("to", "dtype") and attribute.value == ir.DataType.FLOAT16:
            node.attributes.add(ir.AttrInt64(attribute.name, int(ir.DataType.BFLOAT16)))
