"""Shapes of the values that are not data movement, by ONNX's own inference with coordinates as dimension names.

ONNX infers a node's outputs from its inputs' dimension names; a coordinate goes in as the text of its polynomial
and comes out the same, so elementwise operators, products and normalisations keep what is known of their sizes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.coordinates import Coord, parse

if TYPE_CHECKING:
    from s2deploy.rewrite.facts import Interpretation

_LARGEST_DATA = 1024
_GIVE_BOOLEANS = frozenset({"And", "Equal", "Less", "LessOrEqual", "Not", "Or"})
_GIVE_SIZES = frozenset({"NonZero", "Shape", "Size"})
_LIKE_THE_SECOND = frozenset({"CastLike", "Where"})


def infer_shapes(facts: Interpretation, node: ir.Node) -> None:
    """Records the shapes of a node's outputs, as far as they can be known."""
    missing = [value for value in node.outputs if value.name and not _is_fixed(value)]
    if not missing:
        return
    inferred = _inferred(facts, node)
    for value in node.outputs:
        dtype, shape = inferred.get(value.name or "", (None, None))
        if value.type is None and dtype is not None:
            value.type = ir.TensorType(dtype)
        facts.set_shape(node, value, shape)


def element_type(node: ir.Node) -> ir.DataType | None:
    """Returns the element type of what a movement or integer operator gives, as its specification states it."""
    if node.op_type in _GIVE_BOOLEANS:
        return ir.DataType.BOOL
    if node.op_type in _GIVE_SIZES:
        return ir.DataType.INT64
    if node.op_type == "Cast":
        return ir.DataType(node.attributes["to"].as_int())
    if node.op_type == "ConstantOfShape":
        return node.attributes["value"].as_tensor().dtype if "value" in node.attributes else ir.DataType.FLOAT
    model = node.inputs[1 if node.op_type in _LIKE_THE_SECOND else 0]
    if node.op_type == "SequenceAt":
        producer = model.producer() if model is not None else None
        model = producer.inputs[0] if producer is not None else None
    return None if model is None else model.dtype


def _is_fixed(value: ir.Value) -> bool:
    return value.dtype is not None and value.shape is not None and all(isinstance(size, int) for size in value.shape)


def _inferred(facts: Interpretation, node: ir.Node) -> dict[str, tuple[ir.DataType, Shape | None]]:
    types: dict[str, onnx.TypeProto] = {}
    data: dict[str, onnx.TensorProto] = {}
    for value in node.inputs:
        if value is None or value.name is None:
            continue
        shape = facts.known_shape(value)
        if shape is None:
            return {}
        if value.dtype is None:
            return {}
        dims = [size if isinstance(size, int) else str(size) for size in shape]
        types[value.name] = onnx.helper.make_tensor_type_proto(int(value.dtype), dims)
        constant = value.const_value if not value.is_graph_input() else None
        if constant is not None and constant.size <= _LARGEST_DATA:
            data[value.name] = ir.to_proto(constant)
    try:
        schema = onnx.defs.get_schema(node.op_type, facts.opset, node.domain)
        outputs = onnx.shape_inference.infer_node_outputs(
            schema,
            ir.to_proto(node),
            types,
            data,
            opset_imports=[onnx.helper.make_opsetid("", facts.opset)],
        )
    except Exception:  # ONNX raises several kinds for operators without inference; the annotation remains
        return {}
    return {
        name: (ir.DataType(proto.tensor_type.elem_type), _shape(proto) if proto.tensor_type.HasField("shape") else None)
        for name, proto in outputs.items()
        if proto.HasField("tensor_type")
    }


def _shape(proto: onnx.TypeProto) -> Shape:
    """Returns a shape with -1 for every size that was not inferred."""
    sizes: list[Coord] = []
    for dim in proto.tensor_type.shape.dim:
        if dim.HasField("dim_value"):
            sizes.append(dim.dim_value)
        elif dim.HasField("dim_param") and not dim.dim_param.startswith("unk__"):
            sizes.append(parse(dim.dim_param))
        else:
            sizes.append(-1)
    return tuple(sizes)
