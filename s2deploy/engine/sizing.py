"""The shapes of all values of a graph at given shapes of its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from s2deploy.engine.stand_ins import with_stand_ins
from s2deploy.environment import without_logs
from s2deploy.feeds import Array
from s2deploy.precision.graph import retyped, shape_arithmetic

if TYPE_CHECKING:
    import onnx_ir as ir

_SMALL_BYTES = 1000  # shape inference looks at the values of weights up to this size
_MOST_ROUNDS = 50  # a round resolves every shape up to the next one that is computed from it


def sized(model: ir.Model, shapes: Mapping[str, Sequence[int]]) -> ir.Model:
    """Returns a copy whose values have the shapes that follow from those of the inputs, as far as can be told.

    Inference takes turns with computing sizes from the shapes it has found, which it cannot do itself: a Squeeze or a
    Div on the way to the target of a Reshape stops it. Operators of the plugins are stood in for.

    Args:
        model: A model, with the types of its values; it stays as it is. bfloat16 becomes float16 in the copy.
        shapes: The shapes of its dynamic inputs.
    """
    import onnx_ir as ir
    from onnx_ir.passes.common import LiftConstantsToInitializersPass

    copy = model.clone()
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
    with_stand_ins(copy)
    for value in copy.graph.inputs:
        shape = shapes.get(str(value.name))
        if shape is not None:
            value.shape = ir.Shape(shape)
    declared: dict[ir.Value, ir.Shape] = {}
    for graph in copy.graphs():
        for value in _values(graph):
            _as_inference_takes_it(value)
            if value.producer() is not None and value.shape is not None:
                declared[value] = value.shape
    for node in copy.graph.all_nodes():
        if node.op_type == "Cast" and node.attributes.get_int("to", 0) == ir.DataType.BFLOAT16:
            node.attributes.add(ir.AttrInt64("to", ir.DataType.FLOAT16))
    for _ in range(_MOST_ROUNDS):
        _infer(copy)
        if not _compute_sizes(copy.graph):
            break
    for value, before in declared.items():  # of operators that inference does not know
        if value.shape is None:
            value.shape = before
    return copy


def _infer(model: ir.Model) -> None:
    from onnx_ir.passes.common import ShapeInferencePass

    for graph in model.graphs():
        for node in graph:
            for value in node.outputs:
                value.shape = None  # inference keeps what is there, names of sizes included
    with without_logs("onnx_ir.passes.common.shape_inference"):
        ShapeInferencePass(strict_mode=False, data_prop=True)(model)


def _compute_sizes(graph: ir.Graph) -> bool:
    """Replaces sizes that are computed from known shapes by constants, and tells whether there were any."""
    import onnx_ir as ir

    known: dict[ir.Value, Array] = {}
    for node in shape_arithmetic(graph):
        array = _computed(node, known)
        if array is not None:
            known[node.outputs[0]] = array
    replaced = False
    for value, array in known.items():
        if not value.uses() or value.is_graph_output():
            continue
        name = f"{value.name}/at these sizes"
        constant = ir.Value(
            name=name, const_value=ir.Tensor(array, name=name), shape=ir.Shape(array.shape), type=value.type
        )
        graph.register_initializer(constant)
        value.replace_all_uses_with(constant)
        replaced = True
    return replaced


def _computed(node: ir.Node, known: Mapping[ir.Value, Array]) -> Any:
    """Returns what a node with one output makes of known shapes and constants; None where something is unknown."""
    import onnx_ir as ir
    from onnx.reference import ReferenceEvaluator

    if len(node.outputs) != 1:
        return None
    source = node.inputs[0] if node.inputs else None
    if node.op_type == "Shape":
        sizes = None if source is None or source.shape is None else list(source.shape)
        if sizes is None or not all(isinstance(size, int) for size in sizes):
            return None
        part = slice(node.attributes.get_int("start", 0), node.attributes.get_int("end", len(sizes)))
        return np.array(sizes[part], np.int64)
    feed: dict[str, Array] = {}
    for value in node.inputs:
        if value is None:
            continue
        array: Any = known.get(value) if value.const_value is None else value.const_value.numpy()
        if array is None:
            return None
        feed[str(value.name)] = array
    try:
        (result,) = ReferenceEvaluator(ir.to_proto(node)).run(None, feed)
    except Exception:  # an operator it does not compute leaves the shape unknown, which is told
        return None
    return np.asarray(result)


def _as_inference_takes_it(value: ir.Value) -> None:
    """Makes float16 of bfloat16, as wide: ONNX knows no bfloat16 form of many operators, and inference stops there."""
    import onnx_ir as ir

    if value.dtype == ir.DataType.BFLOAT16:
        value.type = retyped(value.type, ir.DataType.FLOAT16)
    tensor = value.const_value
    if tensor is not None and tensor.dtype == ir.DataType.BFLOAT16:
        zeros = np.broadcast_to(np.float16(0), tensor.shape.numpy())
        array = tensor.numpy().astype(np.float16) if tensor.nbytes <= _SMALL_BYTES else zeros
        value.const_value = ir.Tensor(array, name=tensor.name)


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs
