"""Layer normalization as one operator.

Before: ``d = x - ReduceMean(x)``, ``d / Sqrt(ReduceMean(d * d) + epsilon)``, then perhaps ``* scale``, ``+ bias``.
After: ``LayerNormalization(x, scale, bias)``.
Requires: opset 17, floating point, means over the last axes that keep them, a constant epsilon, normalized sizes that
are known; scale and bias are taken in where they are constants of those sizes.
Refuses (leaves the nodes): where something else reads a part of it.
Preserves: shape, dtype, names, NaN and Inf. Sums are taken in the order of the runtime's kernel, in float32 for types
of 16 bits.
Source: the ONNX operator specification of LayerNormalization.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from s2deploy.rewrite.coordinates import Interval
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.initializers import add_initializer
from s2deploy.rewrite.movement import Rewrite
from s2deploy.rewrite.outputs import substitute
from s2deploy.rewrite.reductions_nodes import reduced_by
from s2deploy.rewrite.rules import RULES
from s2deploy.rewrite.rules_movement import int_attribute

_OPSET = 17


def fuse_normalization(
    graph: ir.Graph, ranges: Mapping[str, Interval], allow: Callable[[str], bool] = lambda name: True
) -> list[Rewrite]:
    """Fuses in place; nodes that nothing reads any more are left for a clean-up.

    Args:
        graph: The graph, in topological order.
        ranges: Smallest and largest size of named dimensions.
        allow: Asked with a tensor's name right before it is replaced.
    """
    roots = [node for node in graph if node.op_type == "Sqrt" and node.domain == ""]
    if not roots or graph.opset_imports.get("", 1) < _OPSET:
        return []
    facts = Interpretation(graph, ranges, RULES)
    done: list[Rewrite] = []
    for node in roots:
        found = _normalized(node, facts)
        if found is None:
            continue
        source, last, axis, epsilon = found
        shape = facts.shape(source)
        wanted = tuple(size for size in shape[axis:] if isinstance(size, int))
        if len(wanted) < len(shape) - axis or source.dtype is None or not source.dtype.is_floating_point():
            continue
        scale, last = _taken_in("Mul", last, wanted)
        bias, last = _taken_in("Add", last, wanted)
        name = last.outputs[0].name or ""
        if not allow(name):
            continue
        ones = np.ones(wanted, source.dtype.numpy())
        inputs = [source, scale or add_initializer(graph, f"{name}_scale", ones), *([] if bias is None else [bias])]
        attributes = {"axis": axis - len(shape), "epsilon": epsilon}
        fused = ir.node("LayerNormalization", inputs, attributes=attributes, metadata_props=dict(last.metadata_props))
        fused.outputs[0].type, fused.outputs[0].shape = last.outputs[0].type, last.outputs[0].shape
        graph.insert_before(last, fused)
        substitute(graph, last.outputs[0], fused.outputs[0], last)
        before = {"ReduceMean": 2, "Sub": 1, "Sqrt": 1}
        done.append(Rewrite(name, before, {"LayerNormalization": 1}, last.metadata_props.get("s2deploy.source")))
    return done


def _normalized(root: ir.Node, facts: Interpretation) -> tuple[ir.Value, ir.Node, int, float] | None:
    """Returns what is normalized, the node that gives the result, the first normalized axis and epsilon."""
    total = _producer(root.inputs[0], "Add")
    parts = [] if total is None else [(one, _number(other)) for one, other in _both_ways(total)]
    for variance, epsilon in parts:
        mean = _producer(variance, "ReduceMean")
        square = None if mean is None else _producer(mean.inputs[0], "Pow") or _producer(mean.inputs[0], "Mul")
        if epsilon is None or mean is None or square is None:
            continue
        is_square = _number(square.inputs[1]) == 2 if square.op_type == "Pow" else square.inputs[0] is square.inputs[1]
        difference = _producer(square.inputs[0], "Sub")
        center = None if difference is None else _producer(difference.inputs[1], "ReduceMean")
        if not is_square or difference is None or center is None or center.inputs[0] is not difference.inputs[0]:
            continue
        source, axes = center.inputs[0], reduced_by(center, facts)
        if source is None or not axes or axes != reduced_by(mean, facts):
            continue
        rank = len(facts.shape(source))
        kept = all(int_attribute(one, "keepdims", 1) for one in (mean, center))
        last = _quotient(difference, root)
        if kept and last is not None and axes == tuple(range(axes[0], rank)) and _readers(difference) == {square, last}:
            return source, last, axes[0], epsilon
    return None


def _quotient(difference: ir.Node, root: ir.Node) -> ir.Node | None:
    """Returns the node that divides the difference by the root."""
    for reader in _readers(root):
        if reader.op_type == "Div" and list(reader.inputs) == [difference.outputs[0], root.outputs[0]]:
            return reader if _readers(root) == {reader} else None
        if reader.op_type == "Reciprocal" and _readers(root) == {reader}:
            products = _readers(reader)
            product = products.pop() if len(products) == 1 else None
            if product is not None and product.op_type == "Mul" and difference.outputs[0] in product.inputs:
                return product
    return None


def _taken_in(op_type: str, last: ir.Node, shape: tuple[int, ...]) -> tuple[ir.Value | None, ir.Node]:
    """Returns the constant that the only reader of a node applies, and that reader; None and the node otherwise."""
    readers = _readers(last)
    reader = readers.pop() if len(readers) == 1 and not last.outputs[0].is_graph_output() else None
    if reader is None or reader.op_type != op_type or reader.domain != "" or reader.graph is not last.graph:
        return None, last
    for one, other in _both_ways(reader):
        constant = None if other is None or other.is_graph_input() else other.const_value
        if one is last.outputs[0] and constant is not None and tuple(constant.shape.numpy()) == shape:
            return other, reader
    return None, last


def _both_ways(node: ir.Node) -> list[tuple[ir.Value | None, ir.Value | None]]:
    return [(node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])]


def _producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op_type and node.domain == "" else None


def _readers(node: ir.Node) -> set[ir.Node]:
    return {use.node for use in node.outputs[0].uses()}


def _number(value: ir.Value | None) -> float | None:
    constant = None if value is None or value.is_graph_input() else value.const_value
    return None if constant is None or constant.size != 1 else float(constant.numpy().item())
