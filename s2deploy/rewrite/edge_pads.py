"""Shifts with a replicated border as one Pad instead of two Slices and a Concat.

Before: ``Concat(x[0:1], x[0:n-1])`` along an axis, or the border at the other end, x being cut to a box along other
axes. After: ``Pad(x, mode="edge")`` by 1 in front and by -1 behind; negative pads cut the box along other axes as well.
Requires: cuts by known numbers, and ranges by which something is left of x before it is padded. Refuses dimensions that
may be too small for that. Preserves every value bit by bit. Source: the ONNX specification of Pad.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from s2deploy.rewrite.contents import Read, Shape
from s2deploy.rewrite.coordinates import Coord, Interval, UndecidedError
from s2deploy.rewrite.expressions import at
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.initializers import add_initializer
from s2deploy.rewrite.movement import Rewrite
from s2deploy.rewrite.outputs import substitute
from s2deploy.rewrite.refusals import NotMovementError, Refusal
from s2deploy.rewrite.regions import Tiling
from s2deploy.rewrite.rules import RULES
from s2deploy.rewrite.rules_movement import int_attribute
from s2deploy.rewrite.runtime_costs import WORSE, RuntimeCosts

_PADDED = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.INT32, ir.DataType.INT64})


@dataclass
class PadResult:
    """What the pass did, what it left alone, and what the graph takes for granted now."""

    rewrites: list[Rewrite] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    guards: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Shift:
    """A shift: the tensor, how much is added in front of and behind every axis, and the axis of the border."""

    data: ir.Value
    before: tuple[int, ...]
    after: tuple[int, ...]
    axis: int


def pad_shifts(
    graph: ir.Graph,
    ranges: Mapping[str, Interval],
    sizes: Mapping[str, int],
    costs: Sequence[RuntimeCosts],
    allow: Callable[[str], bool] = lambda name: True,
) -> PadResult:
    """Writes shifts as Pads in place where that costs less; Slices that nothing reads are left for a clean-up.

    Args:
        graph: The graph, in topological order.
        ranges: Smallest and largest size of named dimensions.
        sizes: Typical size of named dimensions.
        costs: What the runtime is judged by; see `COSTS`.
        allow: Asked with a tensor's name right before it is replaced.
    """
    result = PadResult()
    joins = [node for node in graph if _may_be_shift(node)]
    if not joins:
        return result
    facts = Interpretation(graph, ranges, RULES)
    for node in joins:
        try:
            found = _shift(facts, node)
        except NotMovementError:
            continue
        except UndecidedError as error:
            result.refusals.append(Refusal.of(node, f"no Pad: {error}"))
            continue
        if found is None or not _pays(facts, node, found, sizes, costs) or not allow(node.outputs[0].name or ""):
            continue
        pads = add_initializer(graph, "s2deploy_pads", np.array([*found.before, *found.after], np.int64))
        padded = ir.node("Pad", [found.data, pads], {"mode": "edge"}, metadata_props=dict(node.metadata_props))
        old, new = node.outputs[0], padded.outputs[0]
        new.type, new.shape = old.type, old.shape
        graph.insert_before(node, padded)
        substitute(graph, old, new, node)
        source = node.metadata_props.get("s2deploy.source")
        before = {"Slice": len(set(node.inputs)), "Concat": 1}
        result.rewrites.append(Rewrite(old.name or "", before, {"Pad": 1}, source))
    if result.rewrites:
        result.guards = facts.bounds.guards
    return result


def _may_be_shift(node: ir.Node) -> bool:
    producers = {value.producer() if value is not None else None for value in node.inputs}
    return (
        node.op_type == "Concat"
        and node.domain == ""
        and len(producers) == 2
        and all(producer is not None and producer.op_type == "Slice" for producer in producers)
        and node.outputs[0].dtype in _PADDED
    )


def _shift(facts: Interpretation, node: ir.Node) -> _Shift | None:
    """Returns the shift that a Concat of two different Slices is, None where it is none.

    Raises:
        NotMovementError: One of the Slices is not understood.
        UndecidedError: Nothing might be left of the tensor.
    """
    first, last = node.inputs[0], node.inputs[-1]
    assert first is not None
    assert last is not None
    if all(value is first for value in node.inputs[:-1]):
        found = _padded(facts, node, first, last)
        if found is not None:
            return found
    return _padded(facts, node, last, first) if all(value is last for value in node.inputs[1:]) else None


def _padded(facts: Interpretation, node: ir.Node, border: ir.Value, rest: ir.Value) -> _Shift | None:
    """Returns the shift that a border, once or several times, and the rest make."""
    edge, box = _box(facts, border), _box(facts, rest)
    if edge is None or box is None or edge[0] is not box[0]:
        return None
    _, edge_starts, edge_lengths = edge
    data, starts, lengths = box
    count = len(node.inputs) - 1
    full = facts.shape(data)
    axis = int_attribute(node, "axis", 0) % len(full)
    others = [t for t in range(len(full)) if t != axis]
    if any((starts[t], lengths[t]) != (edge_starts[t], edge_lengths[t]) for t in others) or edge_lengths[axis] != 1:
        return None
    in_front = border is node.inputs[0]
    before: list[Coord] = [-start for start in starts]
    after: list[Coord] = [start + length - size for start, length, size in zip(starts, lengths, full, strict=True)]
    place, end = (0, before[axis]) if in_front else (full[axis] - 1, after[axis])
    if edge_starts[axis] != place or end != 0:
        return None
    (before if in_front else after)[axis] = count
    numbers = [pad for pad in (*before, *after) if isinstance(pad, int)]
    if len(numbers) < 2 * len(full) or not facts.bounds.require_at_most(1, lengths[axis]):
        return None
    return _Shift(data, tuple(numbers[: len(full)]), tuple(numbers[len(full) :]), axis)


def _box(facts: Interpretation, value: ir.Value) -> tuple[ir.Value, Shape, Shape] | None:
    """Returns the tensor that a Slice cuts a box from, where the box starts, and its sizes."""
    node = value.producer()
    if node is None or node not in facts.moved:
        return None
    tiling = facts.local(node)[0]
    if not isinstance(tiling, Tiling) or not isinstance(tiling.root, Read) or tiling.root.source is not node.inputs[0]:
        return None
    axes = tiling.root.axes
    if any(axis.step != 1 or axis.out not in (None, t) for t, axis in enumerate(axes)) or node.inputs[0] is None:
        return None
    return node.inputs[0], tuple(axis.start for axis in axes), tiling.shape


def _pays(
    facts: Interpretation, node: ir.Node, shift: _Shift, sizes: Mapping[str, int], costs: Sequence[RuntimeCosts]
) -> bool:
    """Whether a Pad costs less than what it replaces, and nowhere much more."""
    shape = [at(size, sizes) for size in facts.shape(node.outputs[0])]
    count, run = math.prod(shape), math.prod(shape[shift.axis :])
    cut = max(t for t, pads in enumerate(zip(shift.before, shift.after, strict=True)) if any(pads))
    ratios = []
    for own in costs:
        slices = own.movement(count, math.prod(shape[cut:])) + own.node_ns
        joined = own.movement(count, run // len(node.inputs))
        ratios.append(own.pad(count, shape[-1]) / (slices + joined))
    return ratios[0] < 1 and all(ratio <= WORSE for ratio in ratios)
