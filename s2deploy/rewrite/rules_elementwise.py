"""Arithmetic and comparisons of known integers, element by element.

Before: ``Less(Range(n), n - 1)``, ``Add(indices, offset)``. After: ramps; a comparison that turns within a box cuts
the box where it turns, so that a mask is as few boxes as it has borders.
Requires: integers known by formula. Refuses: products of two ramps, quotients that no axis can be divided by,
comparisons that turn along several axes at once or where a size decides.
Preserves the value exactly. Source: the ONNX operator specifications, opset 11 on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import onnx_ir as ir

from s2deploy.rewrite.bounds import Bounds
from s2deploy.rewrite.contents import Content, Ramp, Shape, moved, normalized
from s2deploy.rewrite.coordinates import Coord, divide, floor_divide
from s2deploy.rewrite.facts import Interpretation, Rule
from s2deploy.rewrite.merged import Merged, Movement, Table, as_merged, combined, split_axis
from s2deploy.rewrite.refusals import NotMovementError
from s2deploy.rewrite.regions import Tiling
from s2deploy.rewrite.rules_merged import merging, table
from s2deploy.rewrite.rules_movement import broadcast, constant_ramp
from s2deploy.rewrite.strides import StrideError
from s2deploy.rewrite.tree import Node, joined, resized

_MOST_ELEMENTS = 64

Combine = Callable[[Bounds, Ramp, Ramp, Shape], Node]


def elementwise(combine: Combine) -> Rule:
    """Returns the rule of an elementwise operator of two or more integer tensors."""

    def rule(facts: Interpretation, node: ir.Node) -> Sequence[Table]:
        if not all(facts.is_integer(value) for value in node.inputs):
            raise NotMovementError("not arithmetic on tensors of integers")
        tables = [table(facts, value) for value in node.inputs]
        shape = broadcast(facts.bounds, *(one.shape for one in tables))
        result, *others = (one.expand(shape) for one in tables)

        def apply(left: Content, right: Content, box: Shape) -> Node:
            return _applied(combine, facts.bounds, require_ramp(left, box), require_ramp(right, box), box)

        for other in others:
            result = combined(facts.bounds, result, other, apply)
        return [result]

    return merging(rule, rule)


def dividing(combine: Combine) -> Rule:
    """Returns the rule of a quotient or remainder; an axis of which the divisor makes rows is taken apart for it."""
    plain = elementwise(combine)

    def rule(facts: Interpretation, node: ir.Node) -> Sequence[Movement]:
        try:
            return plain(facts, node)
        except NotMovementError as refusal:
            left, right = (table(facts, value) for value in node.inputs)
            divisor = constant_ramp(right) if isinstance(right, Tiling) else None
            if divisor is None or not all(map(facts.is_integer, node.inputs)) or right.shape != (1,) * right.rank:
                raise
            try:
                rows = _in_rows(left.expand(broadcast(facts.bounds, left.shape, right.shape)), divisor)
            except StrideError:
                raise refusal from None
        by = Ramp(divisor, (0,) * rows.tiling.rank)
        shape = rows.tiling.shape

        def apply(content: Content, _: Content, box: Shape) -> Node:
            return combine(facts.bounds, require_ramp(content, box), by, box)

        return [Merged(rows.tiling.combine(facts.bounds, Tiling.of(by, shape), apply), rows.counts)]

    return rule


def _in_rows(data: Table, length: Coord) -> Merged:
    """Returns a tensor with the last axis that is several rows of some length taken apart into them."""
    merged = as_merged(data)
    for axis in reversed(range(merged.tiling.rank)):
        rows = divide(merged.tiling.shape[axis], length)
        if rows is not None and rows != 1:
            owner = next(t for t in range(merged.rank) if merged.place(t) + merged.counts[t] > axis)
            counts = tuple(count + (t == owner) for t, count in enumerate(merged.counts))
            return Merged(split_axis(merged.tiling, axis, rows), counts)
    raise StrideError("a quotient of indices")


def _applied(
    combine: Combine, bounds: Bounds, left: Ramp, right: Ramp, box: Shape, limit: int = _MOST_ELEMENTS
) -> Node:
    """Combines two ramps as a whole, or element by element along short axes."""
    try:
        return combine(bounds, left, right, box)
    except NotMovementError:
        steps = zip(box, left.steps, right.steps, strict=True)
        short = {t: n for t, (n, a, b) in enumerate(steps) if (a or b) and isinstance(n, int) and 1 < n <= limit}
        if not short:
            raise
    axis = min(short, key=lambda t: short[t])
    single = resized(box, axis, 1)
    parts: list[tuple[Coord, Node]] = []
    for i in range(short[axis]):
        first, second = (normalized(moved(ramp, axis, i), single) for ramp in (left, right))
        assert isinstance(first, Ramp)
        assert isinstance(second, Ramp)
        parts.append((1, _applied(combine, bounds, first, second, single, limit // short[axis])))
    return joined(axis, parts)


def add(_: Bounds, left: Ramp, right: Ramp, __: Shape) -> Ramp:
    """The sum of two ramps."""
    return Ramp(left.base + right.base, tuple(a + b for a, b in zip(left.steps, right.steps, strict=True)))


def subtract(_: Bounds, left: Ramp, right: Ramp, __: Shape) -> Ramp:
    """The difference of two ramps."""
    return _difference(left, right)


def multiply(_: Bounds, left: Ramp, right: Ramp, __: Shape) -> Ramp:
    """The product of two ramps, one of which must be constant."""
    if right.is_constant:
        return scaled(left, right.base)
    if left.is_constant:
        return scaled(right, left.base)
    raise NotMovementError("a product of two indices")


def quotient(bounds: Bounds, left: Ramp, right: Ramp, box: Shape) -> Ramp:
    """The integer quotient by a constant, which truncates towards zero."""
    whole, rest = _divided(bounds, left, right, box)
    if rest is not None and not bounds.require_at_most(0, _ends(left, box)[0]):
        raise NotMovementError("a quotient of negative numbers")
    return whole


def remainder(bounds: Bounds, left: Ramp, right: Ramp, box: Shape) -> Ramp:
    """The remainder by a constant of what is not negative."""
    whole = quotient(bounds, left, right, box)
    return _difference(left, scaled(whole, right.base))


def _divided(bounds: Bounds, left: Ramp, right: Ramp, box: Shape) -> tuple[Ramp, Ramp | None]:
    """Returns the floored quotient of a ramp, and the rest if there may be one.

    Steps that the divisor divides make the quotient; the others must stay below the divisor together.
    """
    if not right.is_constant:
        raise NotMovementError("a quotient of indices")
    by = right.base
    exact = [divide(part, by) for part in (left.base, *left.steps)]
    if None not in exact:
        base, *steps = (part for part in exact if part is not None)
        return Ramp(base, tuple(steps)), None
    if not bounds.require_at_most(1, by):
        raise NotMovementError("a quotient of negative numbers")
    first = floor_divide(left.base, by)
    whole = Ramp(first, tuple(0 if step is None else step for step in exact[1:]))
    rest = _difference(left, scaled(whole, by))
    if not rest.is_constant:
        low, high = _ends(rest, box)
        if not (bounds.at_most(0, low) and bounds.at_most(high + 1, by)):
            raise NotMovementError("a quotient of indices")
    return whole, rest


def equal(bounds: Bounds, left: Ramp, right: Ramp, box: Shape) -> Node:
    """Whether two integers are equal."""
    difference = _difference(left, right)
    if difference.is_constant:
        verdict = bounds.equal(left.base, right.base)
        if verdict is None:
            raise NotMovementError(f"whether {left.base} and {right.base} are equal is not known")
        return _flag(verdict, box)
    low, high = _ends(difference, box)
    no = _flag(False, box)
    if bounds.at_most(1, low) or bounds.at_most(high, -1):
        return no
    axis, step = _varying(difference)
    place = divide(-difference.base, step)
    if place is None and isinstance(difference.base, int):
        return no
    if place is None or not (bounds.at_most(0, place) and bounds.at_most(place + 1, box[axis])):
        raise NotMovementError("a comparison of indices")
    return joined(axis, [(place, no), (1, _flag(True, box)), (box[axis] - place - 1, no)])


def at_most(bounds: Bounds, left: Ramp, right: Ramp, box: Shape) -> Node:
    """Whether one integer is at most another."""
    axis, parts = _turns(bounds, _difference(right, left), box)
    return joined(axis, [(size, _flag(holds, box)) for size, holds in parts])


def at_least(bounds: Bounds, left: Ramp, right: Ramp, box: Shape) -> Node:
    """Whether one integer is at least another."""
    return at_most(bounds, right, left, box)


def less(bounds: Bounds, left: Ramp, right: Ramp, box: Shape) -> Node:
    """Whether one integer is less than another."""
    return at_most(bounds, Ramp(left.base + 1, left.steps), right, box)


def more(bounds: Bounds, left: Ramp, right: Ramp, box: Shape) -> Node:
    """Whether one integer is more than another."""
    return less(bounds, right, left, box)


def smaller(bounds: Bounds, left: Ramp, right: Ramp, box: Shape) -> Node:
    """The smaller of two integers; of two conditions, whether both hold."""
    return _chosen(bounds, _difference(right, left), left, right, box)


def larger(bounds: Bounds, left: Ramp, right: Ramp, box: Shape) -> Node:
    """The larger of two integers; of two conditions, whether one holds."""
    return _chosen(bounds, _difference(left, right), left, right, box)


def _chosen(bounds: Bounds, difference: Ramp, left: Ramp, right: Ramp, box: Shape) -> Node:
    """Returns the left one of two integers where a difference is positive, either one where it is zero."""
    if difference.is_constant and bounds.at_most(difference.base, 0):
        return right
    axis, parts = _turns(bounds, difference, box)
    if len(parts) == 1:
        return left if parts[0][1] else right
    start: Coord = 0
    chosen: list[tuple[Coord, Node]] = []
    for size, first in parts:
        content = moved(left if first else right, axis, start)
        chosen.append((size, normalized(content, resized(box, axis, size))))
        start = start + size
    return joined(axis, chosen)


def _turns(bounds: Bounds, difference: Ramp, box: Shape) -> tuple[int, list[tuple[Coord, bool]]]:
    """Returns an axis and the sizes of its parts in which a ramp is at least zero everywhere, or nowhere."""
    whole: Coord = box[0] if box else 1
    if difference.is_constant:
        return 0, [(whole, bounds.require_at_most(0, difference.base))]
    low, high = _ends(difference, box)
    if bounds.at_most(0, low):
        return 0, [(whole, True)]
    if bounds.at_most(high, -1):
        return 0, [(whole, False)]
    axis, step = _varying(difference)
    base, size = difference.base, box[axis]
    if step > 0:
        first = -base if step == 1 else floor_divide(step - 1 - base, step)
    else:
        first = base + 1 if step == -1 else floor_divide(base, -step) + 1
    if not (bounds.at_most(0, first) and bounds.at_most(first, size)):
        raise NotMovementError("where a comparison of indices turns is not known")
    return axis, [(first, step < 0), (size - first, step > 0)]


def _varying(difference: Ramp) -> tuple[int, int]:
    """Returns the one axis along which a ramp varies, and its step."""
    (axis, *others) = (axis for axis, step in enumerate(difference.steps) if step)
    step = difference.steps[axis]
    if others or not isinstance(step, int):
        raise NotMovementError("a comparison of indices")
    return axis, step


def _ends(ramp: Ramp, box: Shape) -> tuple[Coord, Coord]:
    """Returns the smallest and the largest number of a ramp."""
    low = high = ramp.base
    for step, size in zip(ramp.steps, box, strict=True):
        if not isinstance(step, int):
            raise NotMovementError("a comparison of indices")
        last = step * (size - 1)
        low, high = (low, high + last) if step >= 0 else (low + last, high)
    return low, high


def _difference(left: Ramp, right: Ramp) -> Ramp:
    return Ramp(left.base - right.base, tuple(a - b for a, b in zip(left.steps, right.steps, strict=True)))


def scaled(ramp: Ramp, factor: Coord) -> Ramp:
    """Returns a ramp times a factor."""
    return Ramp(ramp.base * factor, tuple(step * factor for step in ramp.steps))


def require_ramp(content: Content, _: Shape) -> Ramp:
    """Returns a content that is known integers, or refuses."""
    if not isinstance(content, Ramp):
        raise NotMovementError("arithmetic on values that are computed at run time")
    return content


def constant_parts(origin: Shape, shape: Shape, ramp: Ramp) -> Iterator[tuple[Shape, Shape, Coord]]:
    """Yields the boxes within which a ramp is one number: rows where it varies along one short axis."""
    varying = [axis for axis, step in enumerate(ramp.steps) if step]
    if not varying:
        yield origin, shape, ramp.base
        return
    axis = varying[0]
    size = shape[axis]
    if len(varying) > 1 or not isinstance(size, int) or size > _MOST_ELEMENTS:
        raise NotMovementError("the condition is not known")
    for row in range(size):
        place = (*origin[:axis], origin[axis] + row, *origin[axis + 1 :])
        yield place, (*shape[:axis], 1, *shape[axis + 1 :]), ramp.base + ramp.steps[axis] * row


def _flag(verdict: bool, box: Shape) -> Ramp:
    return Ramp(int(verdict), (0,) * len(box))
