"""Loops that assign to slices at their own count, written out.

Before: ``for i in range(8): y[:, i] = f(x, i)`` as a Loop whose body scatters at the iteration number. After: the body
eight times, one after the other, so that every position is known.
Requires: a known number of runs, at most 64 and 4096 nodes in all, no condition of its own to stop, and a scatter in
the body that could not be removed there. Refuses (leaves the loop) otherwise.
Preserves every value, and the names of outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from s2deploy.rewrite.contents import Ramp
from s2deploy.rewrite.coordinates import UndecidedError
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.initializers import add_initializer
from s2deploy.rewrite.outputs import hoist_initializers, remove_with_bodies, splice, substitute
from s2deploy.rewrite.refusals import NotMovementError
from s2deploy.rewrite.rules import SCATTERS

_MOST_RUNS = 64
_MOST_NODES = 4096


def unroll_scattering(graph: ir.Graph, facts: Interpretation) -> bool:
    """Writes out the loops of a graph that still scatter, in place, and tells whether there were any."""
    changed = False
    for node in list(graph):
        runs = _runs(node, facts)
        if runs:
            _unroll(graph, node, runs)
            changed = True
    return changed


def _runs(node: ir.Node, facts: Interpretation) -> int:
    """Returns how often the body of a node is to be written out, 0 for a node that stays."""
    if node.op_type != "Loop" or node.domain != "" or len(node.inputs) < 2 or node.inputs[0] is None:
        return 0
    body = node.attributes["body"].as_graph()
    try:
        (runs,) = facts.integers(node.inputs[0])
        starts = node.inputs[1] is None or _is_true(facts, node.inputs[1])
    except (NotMovementError, UndecidedError, ValueError):
        return 0
    if not starts or not isinstance(runs, int) or not 1 <= runs <= _MOST_RUNS or not _goes_on(body):
        return 0
    nodes = list(body.all_nodes())
    scatters = any(inner.op_type in SCATTERS for inner in nodes)
    return runs if scatters and runs * len(nodes) <= _MOST_NODES else 0


def _is_true(facts: Interpretation, condition: ir.Value) -> bool:
    root = facts.tiling(condition).root
    return isinstance(root, Ramp) and root.is_constant and root.base == 1


def _goes_on(body: ir.Graph) -> bool:
    """Whether a body hands on its condition unchanged, or a constant that is true."""
    condition: ir.Value | None = body.outputs[0]
    while condition is not None and condition.producer() is not None:
        producer = condition.producer()
        if producer is None or producer.op_type != "Identity" or producer.domain != "":
            return False
        condition = producer.inputs[0]
    if condition is None:
        return False
    constant = condition.const_value
    return condition is body.inputs[1] or (
        constant is not None and constant.size == 1 and bool(constant.numpy().item())
    )


def _unroll(graph: ir.Graph, node: ir.Node, runs: int) -> None:
    body = node.attributes["body"].as_graph()
    carried = [value for value in node.inputs[2:] if value is not None]
    collected: list[list[ir.Value]] = [[] for _ in range(len(body.outputs) - 1 - len(carried))]
    true = add_initializer(graph, f"{node.outputs[0].name}_goes_on", np.array(True))
    hoist_initializers(graph, body)
    for run in range(runs):
        copy = body.clone(allow_outer_scope_values=True)
        number = add_initializer(graph, f"{node.outputs[0].name}_run_{run}", np.array(run, np.int64))
        outputs = splice(graph, node, copy, dict(zip(copy.inputs, [number, true, *carried], strict=True)))
        carried = list(outputs[1 : 1 + len(carried)])
        for parts, part in zip(collected, outputs[1 + len(carried) :], strict=True):
            parts.append(_stacked(graph, node, part))
    joined = [_joined(graph, node, parts) for parts in collected]
    for old, new in zip(node.outputs, [*carried, *joined], strict=True):
        substitute(graph, old, new, node)
    remove_with_bodies(graph, node)


def _stacked(graph: ir.Graph, before: ir.Node, part: ir.Value) -> ir.Value:
    """Returns a tensor with a new first axis of size 1."""
    axes = add_initializer(graph, f"{part.name}_axes", np.array([0], np.int64))
    opset = before.graph.opset_imports.get("", 1) if isinstance(before.graph, ir.Graph) else 1
    new = ir.node("Unsqueeze", [part], {"axes": [0]}) if opset < 13 else ir.node("Unsqueeze", [part, axes])
    graph.insert_before(before, new)
    return new.outputs[0]


def _joined(graph: ir.Graph, before: ir.Node, parts: Sequence[ir.Value]) -> ir.Value:
    new = ir.node("Concat", parts, {"axis": 0})
    graph.insert_before(before, new)
    return new.outputs[0]
