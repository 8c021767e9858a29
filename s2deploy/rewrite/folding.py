"""Arithmetic on constants, computed once by onnxruntime instead of at every run.

Before: nodes that depend on no input, such as the comparisons that make an attention mask of a constant picture.
After: initializers with what they give, and the nodes gone.
Requires: operators of ONNX without randomness or subgraphs, known sizes, and results of at most 4 MiB. Weights are
kept: a node that reads a floating-point initializer of the file folds only if that is a handful of numbers.
Refuses (leaves the nodes) anything else, and results of one repeated value, which are shorter as they are.
Preserves the bits that onnxruntime itself would compute.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import onnx
import onnx_ir as ir

from s2deploy.rewrite.constants import Array, scalar_of
from s2deploy.rewrite.initializers import add_initializer
from s2deploy.rewrite.outputs import substitute

_LARGEST_BYTES = 4 << 20
_HANDFUL = 16
_UNIFORM = 64
_KEPT = frozenset(
    {"Bernoulli", "DequantizeLinear", "Dropout", "DynamicQuantizeLinear", "Identity", "Multinomial", "QuantizeLinear"}
    | {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
_STEERED = frozenset({"If", "Loop"})


def fold_constants(graph: ir.Graph, weights: Collection[str], allow: Callable[[str], bool] = lambda name: True) -> bool:
    """Folds a graph in place and tells whether anything changed; what nothing reads any more is left for a clean-up.

    Args:
        graph: The graph, in topological order.
        weights: Names of the initializers that the file came with.
        allow: Asked with a tensor's name right before it becomes a constant.
    """
    nodes = _sized(graph, _foldable(graph, weights))
    inside = set(nodes)
    wanted = [value for node in nodes for value in node.outputs if _is_wanted(value, inside)]
    if not wanted:
        return False
    found = _computed(graph, nodes, wanted)
    changed = False
    for value, array in zip(wanted, found, strict=False):
        producer = value.producer()
        if producer is None or (array.size > _UNIFORM and scalar_of(array) is not None):
            continue
        if not allow(value.name or ""):
            continue
        substitute(graph, value, add_initializer(graph, f"{value.name}_folded", array), producer)
        changed = True
    return changed


def _foldable(graph: ir.Graph, weights: Collection[str]) -> list[ir.Node]:
    """Returns the nodes that depend on constants alone, in order."""
    found: set[ir.Node] = set()
    for node in graph:
        if node.domain != "" or node.op_type in _KEPT or not all(value.name for value in node.outputs):
            continue
        if any(
            attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
            for attribute in node.attributes.values()
        ):
            continue
        if all(value is None or value.producer() in found or _is_leaf(value, weights) for value in node.inputs):
            found.add(node)
    return [node for node in graph if node in found]


def _is_leaf(value: ir.Value, weights: Collection[str]) -> bool:
    tensor = value.const_value
    if tensor is None or value.producer() is not None or value.is_graph_input():
        return False
    if tensor.nbytes > _LARGEST_BYTES or tensor.dtype == ir.DataType.STRING:
        return False
    return value.name not in weights or tensor.size <= _HANDFUL or not tensor.dtype.is_floating_point()


def _sized(graph: ir.Graph, nodes: Sequence[ir.Node]) -> list[ir.Node]:
    """Returns the nodes that give tensors of known and moderate size, as do all they depend on."""
    if not nodes:
        return []
    try:
        model = onnx.shape_inference.infer_shapes(ir.to_proto(_model(graph, nodes, [])), data_prop=True)
    except Exception:  # ONNX raises several kinds for nodes that break their specification; a runtime will say so
        return []
    types = {info.name: info.type.tensor_type for info in (*model.graph.value_info, *model.graph.output)}
    small: set[ir.Node] = set()
    for node in nodes:
        if all(value is None or value.producer() is None or value.producer() in small for value in node.inputs) and all(
            value.name in types and _nbytes(types[value.name]) <= _LARGEST_BYTES for value in node.outputs
        ):
            small.add(node)
    return [node for node in nodes if node in small]


def _nbytes(kind: onnx.TypeProto.Tensor) -> float:
    dtype = ir.DataType(kind.elem_type)
    if dtype in (ir.DataType.UNDEFINED, ir.DataType.STRING) or not kind.HasField("shape"):
        return float("inf")
    if not all(dim.HasField("dim_value") for dim in kind.shape.dim):
        return float("inf")
    count = float(np.prod([dim.dim_value for dim in kind.shape.dim], dtype=np.float64))
    return count * dtype.itemsize


def _is_wanted(value: ir.Value, inside: set[ir.Node]) -> bool:
    """Whether something that is not folded reads a value, and may read a constant instead."""
    readers = [use.node for use in value.uses()]
    # A constant condition makes a runtime infer types through one branch alone, which not every file survives.
    if any(reader.op_type in _STEERED for reader in readers):
        return False
    return value.is_graph_output() or any(reader not in inside for reader in readers)


def _computed(graph: ir.Graph, nodes: Sequence[ir.Node], wanted: Sequence[ir.Value]) -> Sequence[Array]:
    """Returns the values of tensors, nothing where onnxruntime does not take their operators."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    serialized = ir.to_proto(_model(graph, nodes, wanted)).SerializeToString()
    try:
        session = onnxruntime.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])
        return [np.asarray(array) for array in session.run(None, {})]
    except Exception:  # onnxruntime raises a dozen kinds of its own
        return []


def _model(graph: ir.Graph, nodes: Sequence[ir.Node], wanted: Sequence[ir.Value]) -> ir.Model:
    """Returns a model of some nodes alone."""
    copies: dict[ir.Value, ir.Value] = {}
    initializers: list[ir.Value] = []

    def copied(value: ir.Value | None) -> ir.Value | None:
        if value is not None and value not in copies:
            tensor = value.const_value
            assert tensor is not None
            copies[value] = ir.Value(
                name=value.name,
                shape=ir.Shape(list(np.shape(tensor))),
                type=ir.TensorType(tensor.dtype),
                const_value=tensor,
            )
            initializers.append(copies[value])
        return None if value is None else copies[value]

    made: list[ir.Node] = []
    for node in nodes:
        outputs = [ir.Value(name=value.name) for value in node.outputs]
        inputs = [copied(value) for value in node.inputs]
        made.append(ir.Node("", node.op_type, inputs, node.attributes.values(), outputs=outputs))
        copies.update(zip(node.outputs, outputs, strict=True))
    shown = [copies[value] for value in wanted]
    inner = ir.Graph(
        [], shown, nodes=made, initializers=initializers, opset_imports=dict(graph.opset_imports), name="g"
    )
    return ir.Model(inner, ir_version=10)
