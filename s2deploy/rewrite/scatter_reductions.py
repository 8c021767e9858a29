"""Scatters that reduce, as arithmetic on slices.

Before: ``ScatterND(x, indices, v, reduction="add")`` at positions that are slices, none of them named twice.
After: ``x`` with the slice replaced by ``Slice(x) + v``.
Requires: known indices, at most 16 boxes that do not overlap; add or mul, or max or min of integers.
Refuses: the rest. Runtimes take NaN for the smaller number in a scatter and for the result in Max.
Preserves the value bit by bit: each element is reduced once, with the same operands.
Source: the ONNX specifications of ScatterND and ScatterElements.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir

from s2deploy.rewrite.bounds import Bounds
from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.coordinates import Coord, Interval, UndecidedError
from s2deploy.rewrite.emit import emit
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.lower import CannotLowerError, Lowering
from s2deploy.rewrite.merged import Movement
from s2deploy.rewrite.movement import Rewrite
from s2deploy.rewrite.refusals import NotMovementError
from s2deploy.rewrite.regions import Tiling
from s2deploy.rewrite.rules import RULES, SCATTERS
from s2deploy.rewrite.rules_indexing import Write, scattered
from s2deploy.rewrite.strides import Interleaved, StrideError, assign

_OPERATORS = {"add": "Add", "mul": "Mul", "max": "Max", "min": "Min"}
_ROUNDS_ALIKE = frozenset({"add", "mul"})
_MOST_WRITES = 16


def expand_reductions(
    graph: ir.Graph, ranges: Mapping[str, Interval], allow: Callable[[str], bool] = lambda name: True
) -> list[Rewrite]:
    """Turns reductions into arithmetic in place; nodes that nothing reads any more are left for a clean-up.

    Args:
        graph: The graph, in topological order.
        ranges: Smallest and largest size of named dimensions.
        allow: Asked with the name of a scatter's output right before it is replaced.
    """
    reducing = [node for node in graph if node.op_type in SCATTERS and node.domain == "" and _reduction(node) != "none"]
    if not reducing:
        return []
    facts = Interpretation(graph, ranges, RULES)
    lowering = Lowering(graph, facts.bounds, facts.dimensions(), facts.opset)
    done: list[Rewrite] = []
    for node in reducing:
        count, name = len(lowering.added), node.outputs[0].name or ""
        if not allow(name):
            continue
        try:
            operators = _expanded(facts, lowering, node)
        except (NotMovementError, UndecidedError, StrideError, CannotLowerError, RecursionError, IndexError):
            continue
        added = Counter(other.op_type for other in lowering.added[count:]) + Counter(operators)
        source = node.metadata_props.get("s2deploy.source")
        done.append(Rewrite(name, {node.op_type: 1}, dict(added), source))
    return done


def _expanded(facts: Interpretation, lowering: Lowering, node: ir.Node) -> list[str]:
    """Replaces one scatter and returns the arithmetic operators it takes."""
    operator = _OPERATORS.get(_reduction(node))
    data, dtype = node.inputs[0], node.outputs[0].dtype
    if operator is None or data is None or dtype is None or dtype in (ir.DataType.BOOL, ir.DataType.STRING):
        raise NotMovementError("a reduction of that type")
    if _reduction(node) not in _ROUNDS_ALIKE and not dtype.is_integer():
        raise NotMovementError("a reduction in which runtimes treat NaN in two ways")
    writes = scattered(facts, node)
    if not writes or len(writes) > _MOST_WRITES or not _are_apart(facts.bounds, writes):
        raise NotMovementError("a reduction of many positions, or of one more than once")
    whole = Tiling.whole(data, facts.shape(data))
    result: Movement = whole
    for starts, steps, update in writes:
        old = whole
        for axis, (start, step, size) in enumerate(zip(starts, steps, update.shape, strict=True)):
            old = old.slice(facts.bounds, axis, start, size, step)
        operands = [
            lowering.lower(emit(facts.bounds, tensor, facts.source_shape), dtype, node) for tensor in (old, update)
        ]
        reduced = _reduced(facts.graph, node, operator, operands, update.shape)
        assert isinstance(result, (Tiling, Interleaved))
        part = Tiling.whole(reduced, update.shape)
        result = assign(facts.bounds, result, starts, steps, part, lambda: facts.zero(data))
    new = lowering.lower(emit(facts.bounds, result, facts.source_shape), dtype, node)
    lowering.substitute(node.outputs[0], new, node)
    return [operator] * len(writes)


def _reduced(graph: ir.Graph, node: ir.Node, operator: str, operands: Sequence[ir.Value], shape: Shape) -> ir.Value:
    added = ir.node(operator, operands, metadata_props=dict(node.metadata_props))
    value = added.outputs[0]
    assert node.outputs[0].dtype is not None
    value.type = ir.TensorType(node.outputs[0].dtype)
    value.shape = ir.Shape([size if isinstance(size, int) else str(size) for size in shape])
    graph.insert_before(node, added)
    return value


def _are_apart(bounds: Bounds, writes: Sequence[Write]) -> bool:
    """Whether no two writes touch one position."""
    boxes = [list(zip(starts, _lasts(starts, steps, update.shape), strict=True)) for starts, steps, update in writes]
    return all(
        any(
            bounds.at_most(end + 1, b) or bounds.at_most(last + 1, a) for (a, end), (b, last) in zip(*pair, strict=True)
        )
        for pair in itertools.combinations(boxes, 2)
    )


def _lasts(starts: Sequence[Coord], steps: Sequence[int], sizes: Shape) -> list[Coord]:
    return [start + (size - 1) * step for start, step, size in zip(starts, steps, sizes, strict=True)]


def _reduction(node: ir.Node) -> str:
    return node.attributes["reduction"].as_string() if "reduction" in node.attributes else "none"
