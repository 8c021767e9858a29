"""Pieces of one tensor in another order, as Gathers.

Before: ``Concat(x[b:], x[:b])`` along an axis, or more Slices and Concats within each other, that pick rows of x.
After: ``Gather(x, rows)`` with constant rows, one for each axis along which the order changes.
Every element is copied once instead of twice, but run by run, so that it depends on the runtime what is faster; most of
all, many short pieces are one operator.
Requires: axes of known size, every row of the result the same row of x wherever it lies along the other axes.
Refuses (leaves the Slices) pieces of several tensors, and bounds that are computed.
Preserves every value bit by bit. Source: the ONNX specifications of Slice, Concat, Split and Gather.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from s2deploy.rewrite.channel_segments import slices_of
from s2deploy.rewrite.coordinates import Interval
from s2deploy.rewrite.expressions import at
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.layout_writing import Writer
from s2deploy.rewrite.movement import Rewrite
from s2deploy.rewrite.outputs import substitute
from s2deploy.rewrite.rules import RULES
from s2deploy.rewrite.rules_movement import int_attribute
from s2deploy.rewrite.runtime_costs import WORSE, RuntimeCosts

_MOST_ROWS = 1 << 16
_DEEPEST = 16

Picked = tuple[int, ...]


@dataclass(frozen=True)
class _Rows:
    """Rows of a tensor.

    Attributes:
        data: The tensor.
        picked: For each axis, which rows there are, in order; None where it is all of them as they are.
        nodes: The nodes that pick them, each once.
    """

    data: ir.Value
    picked: tuple[Picked | None, ...]
    nodes: tuple[ir.Node, ...] = ()


def gather_rows(
    graph: ir.Graph,
    ranges: Mapping[str, Interval],
    sizes: Mapping[str, int],
    costs: Sequence[RuntimeCosts],
    allow: Callable[[str], bool] = lambda name: True,
) -> list[Rewrite]:
    """Writes Concats of Slices as Gathers in place; nodes that nothing reads any more are left for a clean-up.

    Args:
        graph: The graph, in topological order.
        ranges: Smallest and largest size of named dimensions.
        sizes: Typical size of named dimensions, for the cost.
        costs: What the runtime is judged by; see `COSTS`.
        allow: Asked with a tensor's name right before it is replaced.
    """
    joins = [node for node in graph if _may_pick(node)]
    if not joins:
        return []
    facts = Interpretation(graph, ranges, RULES)
    writer = Writer(facts)
    done: list[Rewrite] = []
    covered: set[ir.Node] = set()
    for node in reversed(joins):
        rows = None if node in covered else _rows(facts, node.outputs[0])
        if rows is None or not _pays(facts, node, rows, sizes, costs) or not allow(node.outputs[0].name or ""):
            continue
        covered.update(rows.nodes)
        there = len(writer.written)
        substitute(graph, node.outputs[0], _write(writer, node, rows), node)
        before, after = Counter(n.op_type for n in rows.nodes), Counter(n.op_type for n in writer.written[there:])
        source = node.metadata_props.get("s2deploy.source")
        done.append(Rewrite(node.outputs[0].name or "", before, after, source))
    return done[::-1]


def _may_pick(node: ir.Node) -> bool:
    return (
        node.op_type == "Concat"
        and node.domain == ""
        and all(value is not None for value in node.inputs)
        and any(value is not None and value.producer() is not None for value in node.inputs)
    )


def _rows(facts: Interpretation, value: ir.Value, depth: int = 0) -> _Rows | None:
    """Returns a tensor as rows of another; of itself where it is no piece."""
    node = value.producer()
    shape = facts.known_shape(value)
    if shape is None or depth > _DEEPEST:
        return None
    found = None
    if node is not None and node.domain == "" and node.graph is facts.graph:
        if node.op_type == "Concat" and (depth == 0 or _is_alone(value)):
            found = _joined(facts, node, depth)
        elif node.op_type == "Slice":
            found = _sliced(facts, node)
        elif node.op_type == "Split":
            found = _part(facts, node, value)
    return _Rows(value, (None,) * len(shape)) if found is None and depth else found


def _joined(facts: Interpretation, node: ir.Node, depth: int) -> _Rows | None:
    """Returns what a Concat picks, None where its parts are not the same rows along all other axes."""
    parts = [_rows(facts, value, depth + 1) for value in node.inputs if value is not None]
    first = parts[0]
    if first is None:
        return None
    axis = int_attribute(node, "axis", 0) % len(first.picked)
    size = facts.shape(first.data)[axis]
    if not isinstance(size, int) or len(node.inputs) * size > _MOST_ROWS:
        return None
    picked: list[int] = []
    nodes: dict[ir.Node, None] = {node: None}
    for part in parts:
        if part is None or part.data is not first.data or _without(part.picked, axis) != _without(first.picked, axis):
            return None
        own = part.picked[axis]
        picked += range(size) if own is None else own
        if len(picked) > _MOST_ROWS:
            return None
        nodes.update(dict.fromkeys(part.nodes))
    return _Rows(first.data, (*first.picked[:axis], tuple(picked), *first.picked[axis + 1 :]), tuple(nodes))


def _sliced(facts: Interpretation, node: ir.Node) -> _Rows | None:
    data = node.inputs[0]
    if data is None:
        return None
    shape = facts.known_shape(data)
    bounds = None if shape is None else slices_of(node, len(shape))
    if shape is None or bounds is None:
        return None
    picked: list[Picked | None] = [None] * len(shape)
    for axis, (start, end, step) in bounds.items():
        size = shape[axis]
        if not isinstance(size, int) or size > _MOST_ROWS or step == 0:
            return None
        picked[axis] = tuple(range(size)[max(start, -size) : end : step])
    return _Rows(data, tuple(picked), (node,))


def _part(facts: Interpretation, node: ir.Node, value: ir.Value) -> _Rows | None:
    data = node.inputs[0]
    if data is None:
        return None
    rank = len(facts.shape(data))
    axis = int_attribute(node, "axis", 0) % rank
    lengths = [facts.shape(output)[axis] for output in node.outputs[: (value.index() or 0) + 1]]
    numbers = [length for length in lengths if isinstance(length, int)]
    if len(numbers) < len(lengths):
        return None
    start = sum(numbers[:-1])
    picked: list[Picked | None] = [None] * rank
    picked[axis] = tuple(range(start, start + numbers[-1]))
    return _Rows(data, tuple(picked), (node,))


def _is_alone(value: ir.Value) -> bool:
    return len(value.uses()) == 1 and not value.is_graph_output()


def _without(picked: Sequence[Picked | None], axis: int) -> tuple[Picked | None, ...]:
    return (*picked[:axis], *picked[axis + 1 :])


def _steps(picked: Sequence[Picked | None], shape: Sequence[int]) -> tuple[dict[int, Picked], dict[int, Picked]]:
    """Returns which axes a Slice cuts, and which are gathered, those first that leave the least."""
    asked = {axis: rows for axis, rows in enumerate(picked) if rows is not None and rows != tuple(range(shape[axis]))}
    cut = {axis: rows for axis, rows in asked.items() if rows == tuple(range(rows[0], rows[0] + len(rows)))}
    left = sorted(asked.keys() - cut.keys(), key=lambda axis: len(asked[axis]) / max(shape[axis], 1))
    return cut, {axis: asked[axis] for axis in left}


def _pays(
    facts: Interpretation, node: ir.Node, rows: _Rows, sizes: Mapping[str, int], costs: Sequence[RuntimeCosts]
) -> bool:
    """Whether Gathers cost less than what they replace, and nowhere much more."""
    if any(not own for own in rows.picked if own is not None):
        return False  # nothing is picked
    shape = [at(size, sizes) for size in facts.shape(rows.data)]
    cut, gathered = _steps(rows.picked, shape)
    ratios = []
    for own in costs:
        before, after = 0.0, 0.0
        for inner in rows.nodes:
            if inner is node or all(use.node in rows.nodes for output in inner.outputs for use in output.uses()):
                before += sum(own.movement(count, run) for count, run in _copied(facts, inner, sizes))
        now = list(shape)
        for axis, picked in cut.items():
            now[axis] = len(picked)
        if cut:
            after += own.movement(math.prod(now), math.prod(now[max(cut) :]))
        for axis, picked in gathered.items():
            now[axis] = len(picked)
            after += own.gathered(math.prod(now), math.prod(now[axis + 1 :]))
        ratios.append(after / before)
    return ratios[0] < 1 and all(ratio <= WORSE for ratio in ratios)


def _copied(facts: Interpretation, node: ir.Node, sizes: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """Yields how many elements a node copies, and how many of them lie in a row."""
    shape = [at(size, sizes) for size in facts.shape(node.outputs[0])]
    if node.op_type == "Slice":
        axes = slices_of(node, len(shape)) or {0: (0, 0, 0)}
        yield math.prod(shape), math.prod(shape[max(axes) :])
        return
    axis = int_attribute(node, "axis", 0) % len(shape)
    pieces = node.inputs if node.op_type == "Concat" else node.outputs
    total = math.prod(shape) if node.op_type == "Concat" else math.prod(shape) * len(pieces)
    yield total, math.prod(shape[axis:]) // (len(pieces) if node.op_type == "Concat" else 1)


def _write(writer: Writer, node: ir.Node, rows: _Rows) -> ir.Value:
    """Writes the nodes in front of a Concat, and returns what they give."""
    full, result = writer.shape(rows.data), rows.data
    now = list(full)
    cut, gathered = _steps(rows.picked, [size if isinstance(size, int) else 0 for size in full])
    for axis, picked in cut.items():
        now[axis] = len(picked)
    if cut:
        columns = ([p[0] for p in cut.values()], [p[-1] + 1 for p in cut.values()], list(cut))
        bounds = [writer.ints(column) for column in columns]
        result = writer.add("Slice", [result, *bounds], node, like=rows.data, shape=tuple(now))
    for axis, picked in gathered.items():
        now[axis] = len(picked)
        order = writer.ints(picked)
        result = writer.add(
            "Gather", [result, order], node, like=rows.data, shape=tuple(now), attributes={"axis": axis}
        )
    return result
