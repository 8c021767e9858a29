"""The bodies of If, Loop and Scan nodes, and branches that are decided beforehand.

Before: ``If(size == 1, ...)`` on a size that is known, as scripted models export ``squeeze``. After: the nodes of the
branch that is taken, in place of the If. Requires: a condition that the declared ranges decide. Refuses any other.
Preserves every value, and the names of outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx_ir as ir

from s2deploy.rewrite.contents import Ramp
from s2deploy.rewrite.coordinates import UndecidedError
from s2deploy.rewrite.facts import Interpretation, Rule
from s2deploy.rewrite.outputs import remove_with_bodies, splice, substitute
from s2deploy.rewrite.refusals import NotMovementError


def bodies(node: ir.Node) -> Iterator[ir.Graph]:
    """Yields the graphs that a node of the standard runs; a custom node may mean anything by its own."""
    if node.domain == "":
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                yield attribute.as_graph()


def understood_body(
    node: ir.Node, body: ir.Graph, outer: Interpretation, rules: Mapping[str, Rule], refusable: frozenset[str]
) -> Interpretation:
    """Returns the facts about a body, in which what a loop carries keeps its first shape where that can be shown."""
    carried = _carried(node, body)
    shapes = {inner: outer.known_shape(first) for inner, first, _ in carried if first is not None}
    given = {inner: shape for inner, shape in shapes.items() if shape is not None}
    while True:
        facts = Interpretation(body, {}, rules, refusable, outer=outer, given=given)
        kept = {inner for inner, _, last in carried if inner in given and facts.known_shape(last) == given[inner]}
        if len(kept) == len(given):
            return facts
        given = {inner: shape for inner, shape in given.items() if inner in kept}


def _carried(node: ir.Node, body: ir.Graph) -> list[tuple[ir.Value, ir.Value | None, ir.Value]]:
    """Returns what a loop hands from one run of its body to the next: the input, its first value, the output."""
    if node.op_type == "Loop":
        return list(zip(body.inputs[2:], node.inputs[2:], body.outputs[1:], strict=False))
    if node.op_type == "Scan" and "num_scan_inputs" in node.attributes:
        count = len(body.inputs) - node.attributes["num_scan_inputs"].as_int()
        return list(zip(body.inputs[:count], node.inputs[:count], body.outputs[:count], strict=False))
    return []


def inline_decided(graph: ir.Graph, facts: Interpretation) -> bool:
    """Replaces If nodes whose condition is known by the branch that is taken, and tells whether there were any."""
    changed = False
    for node in list(graph):
        taken = _decision(node, facts)
        if taken is not None:
            branch = node.attributes["then_branch" if taken else "else_branch"].as_graph()
            for old, new in zip(node.outputs, splice(graph, node, branch, {}), strict=True):
                substitute(graph, old, new, node)
            remove_with_bodies(graph, node)
            changed = True
    return changed


def _decision(node: ir.Node, facts: Interpretation) -> bool | None:
    if node.op_type != "If" or node.domain != "":
        return None
    try:
        condition = facts.tiling(node.inputs[0]).root
    except (NotMovementError, UndecidedError):
        return None
    known = isinstance(condition, Ramp) and condition.is_constant and condition.base in (0, 1)
    return bool(condition.base) if known and isinstance(condition, Ramp) else None
