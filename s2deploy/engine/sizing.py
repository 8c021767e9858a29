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
_MOST_ROUNDS = 50  # a round resolves all shapes up to those of bodies that sizes are computed from


def sized(model: ir.Model, shapes: Mapping[str, Sequence[int]]) -> ir.Model:
    """Returns a copy whose values have the shapes that follow from those of the inputs, as far as can be told.

    Inference of the whole model takes turns with a pass over its nodes that computes sizes from shapes, which inference
    cannot do itself: a Squeeze or a Div on the way to the target of a Reshape stops it. Operators of the plugins are
    stood in for.

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
        if not _resolve(copy):
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


def _resolve(model: ir.Model) -> bool:
    """Follows shapes through the graph in its order, computing sizes from them on the way.

    Returns:
        Whether sizes were found that the graph did not state: they are constants of it now.
    """
    import onnx_ir as ir

    graph = model.graph
    known: dict[ir.Value, Array] = {}
    arithmetic = set(shape_arithmetic(graph))
    for node in graph:
        array = _computed(node, known) if node in arithmetic else None
        if array is not None:
            known[node.outputs[0]] = array
        elif not all(map(_has_sizes, node.outputs)):
            _infer_node(node, known, model)
    done = {value.producer() for value in known}
    replaced = False
    for value, array in known.items():
        if value.is_graph_output() or all(use.node in done for use in value.uses()):
            continue
        name = f"{value.name}/at these sizes"
        constant = ir.Value(
            name=name, const_value=ir.Tensor(array, name=name), shape=ir.Shape(array.shape), type=value.type
        )
        graph.register_initializer(constant)
        value.replace_all_uses_with(constant)
        replaced = True
    for value in reversed(known):  # what has been computed need not be once more
        maker = value.producer()
        if maker is not None and not value.uses() and not value.is_graph_output():
            graph.remove(maker, safe=True)
    return replaced


def _infer_node(node: ir.Node, known: Mapping[ir.Value, Array], model: ir.Model) -> None:
    """Infers the shapes of what one node makes; those of an operator with bodies wait for the whole model's turn."""
    import onnx
    import onnx_ir as ir

    inputs = [value for value in node.inputs if value is not None]
    domain = "" if node.domain == "ai.onnx" else node.domain
    if any(value.type is None for value in inputs) or domain not in model.opset_imports:
        return
    arrays = {str(value.name): known[value] if value in known else _small(value) for value in inputs}
    try:
        inferred = onnx.shape_inference.infer_node_outputs(
            onnx.defs.get_schema(node.op_type, model.opset_imports[domain], domain),
            ir.to_proto(node),
            {str(value.name): ir.serde.serialize_value(value).type for value in inputs},
            {name: onnx.numpy_helper.from_array(array) for name, array in arrays.items() if array is not None},
            opset_imports=[onnx.helper.make_opsetid(*entry) for entry in model.opset_imports.items()],
        )
    except Exception:  # an operator or a shape that inference does not know stays unknown, which is told
        return
    for value in node.outputs:
        kind = inferred.get(str(value.name))
        if kind is not None:
            value.type = value.type or ir.serde.deserialize_type_proto_for_type(kind)
            value.shape = ir.serde.deserialize_type_proto_for_shape(kind)


def _small(value: ir.Value) -> Any:
    """Returns a weight that shape inference looks at; None where it looks at the shape alone."""
    tensor = value.const_value
    return tensor.numpy() if tensor is not None and tensor.nbytes <= _SMALL_BYTES else None


def _has_sizes(value: ir.Value) -> bool:
    return value.shape is not None and all(isinstance(size, int) for size in value.shape)


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
