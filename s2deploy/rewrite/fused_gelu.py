"""GELU as one operator.

Before: ``0.5 * x * (1 + Erf(x / sqrt(2)))`` and ``0.5 * x * (1 + Tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))``, factors
in any order, as exporters write them for operator sets without Gelu.
After: ``Gelu(x)``, ``Gelu<approximate = tanh>(x)``.
Requires: opset 20, floating point, constants that agree to 1e-4 of each.
Refuses (leaves the nodes): where something else reads a part of it.
Preserves: shape, dtype, names, NaN. It rounds once instead of at every step; what becomes of -Inf (NaN by the formula)
and the sign of a zero are the runtime's.
Source: the ONNX operator specification of Gelu.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import onnx_ir as ir

from s2deploy.rewrite.movement import Rewrite
from s2deploy.rewrite.outputs import substitute

_OPSET = 20
_LONGEST = 8
_CLOSE = 1e-4
_ARGUMENTS = {
    "Erf": ("none", {1: math.sqrt(0.5)}),
    "Tanh": ("tanh", {1: math.sqrt(2 / math.pi), 3: 0.044715 * math.sqrt(2 / math.pi)}),
}

Polynomial: TypeAlias = "dict[int, float]"


def fuse_gelu(graph: ir.Graph, allow: Callable[[str], bool] = lambda name: True) -> list[Rewrite]:
    """Fuses in place; nodes that nothing reads any more are left for a clean-up.

    Args:
        graph: The graph, in topological order.
        allow: Asked with a tensor's name right before it is replaced.
    """
    if graph.opset_imports.get("", 1) < _OPSET:
        return []
    done: list[Rewrite] = []
    for node in list(graph):
        if node.op_type not in _ARGUMENTS or node.domain != "":
            continue
        found = _product_of(node)
        if found is None:
            continue
        source, last = found
        name = last.outputs[0].name or ""
        if not allow(name):
            continue
        attributes = {"approximate": _ARGUMENTS[node.op_type][0]}
        gelu = ir.node("Gelu", [source], attributes=attributes, metadata_props=dict(last.metadata_props))
        gelu.outputs[0].type, gelu.outputs[0].shape = last.outputs[0].type, last.outputs[0].shape
        graph.insert_before(last, gelu)
        substitute(graph, last.outputs[0], gelu.outputs[0], last)
        done.append(Rewrite(name, {node.op_type: 1}, {"Gelu": 1}, last.metadata_props.get("s2deploy.source")))
    return done


def _product_of(node: ir.Node) -> tuple[ir.Value, ir.Node] | None:
    """Returns x and the node that gives its GELU, for the Erf or Tanh in it."""
    argument = node.inputs[0]
    if argument is None or argument.dtype is None or not argument.dtype.is_floating_point():
        return None
    for source in _candidates(argument):
        if not _agree(_polynomial(argument, source), _ARGUMENTS[node.op_type][1]):
            continue
        current = _only_reader(node)
        if current is None or current.op_type != "Add" or not _agree(_rest(current, node, source), {0: 1.0}):
            return None
        factor: Polynomial = {0: 1.0}
        for _ in range(_LONGEST):
            reader = _only_reader(current)
            other = None if reader is None else _rest(reader, current, source)
            if reader is None or other is None or reader.op_type not in ("Mul", "Div"):
                return None
            if reader.op_type == "Div" and (reader.inputs[0] is not current.outputs[0] or list(other) != [0]):
                return None
            factor = _times(factor, other if reader.op_type == "Mul" else {0: 1 / other[0]})
            if _agree(factor, {1: 0.5}):
                return source, reader
            current = reader
    return None


def _candidates(value: ir.Value) -> list[ir.Value]:
    """Returns the values that a short chain of arithmetic leads from to a value, the value itself first."""
    found = [value]
    for one in found:
        producer = one.producer()
        if producer is None or producer.op_type not in ("Add", "Div", "Mul", "Pow") or len(found) > _LONGEST:
            continue
        found += [other for other in producer.inputs if other is not None and other not in found]
    return [one for one in found if one.const_value is None]


def _rest(node: ir.Node, known: ir.Node, source: ir.Value) -> Polynomial | None:
    """Returns the operand of a binary node that another node does not give."""
    others = [value for value in node.inputs if value is not known.outputs[0]]
    return None if len(node.inputs) != 2 or len(others) != 1 else _polynomial(others[0], source)


def _polynomial(value: ir.Value | None, source: ir.Value, depth: int = 0) -> Polynomial | None:
    """Returns a value as a polynomial in another one, None where it is none."""
    if value is None or depth > _LONGEST:
        return None
    if value is source:
        return {1: 1.0}
    if value.const_value is not None and not value.is_graph_input():
        is_number = value.const_value.size == 1 and len(value.const_value.shape) < 2
        return {0: float(value.const_value.numpy().item())} if is_number else None
    node = value.producer()
    if node is None or node.op_type not in ("Add", "Div", "Mul", "Pow") or node.domain != "":
        return None
    left, right = (_polynomial(one, source, depth + 1) for one in node.inputs)
    if left is None or right is None:
        return None
    if node.op_type == "Add":
        return {power: left.get(power, 0.0) + right.get(power, 0.0) for power in {*left, *right}}
    if node.op_type == "Mul":
        return _times(left, right)
    if list(right) != [0] or not right[0]:
        return None
    if node.op_type == "Div":
        return _times(left, {0: 1 / right[0]})
    return _times(_times(left, left), left) if right[0] == 3 else _times(left, left) if right[0] == 2 else None


def _times(left: Polynomial, right: Polynomial) -> Polynomial:
    total: Polynomial = {}
    for a, first in left.items():
        for b, second in right.items():
            total[a + b] = total.get(a + b, 0.0) + first * second
    return total


def _agree(found: Mapping[int, float] | None, wanted: Mapping[int, float]) -> bool:
    if found is None or found.keys() != wanted.keys():
        return False
    return all(math.isclose(found[power], factor, rel_tol=_CLOSE) for power, factor in wanted.items())


def _only_reader(node: ir.Node) -> ir.Node | None:
    uses = list(node.outputs[0].uses())
    alone = len(uses) == 1 and not node.outputs[0].is_graph_output() and uses[0].node.graph is node.graph
    return uses[0].node if alone else None
