"""Sizes of one, which hide most of what can be known: proven case by case.

A dimension that may be 1 leaves it open whether ``height - 1`` reaches beyond the first row, and a shift cannot be
composed. So the graph is understood for sizes of 2 and more, and every tensor that is replaced on that assumption is
compared, as a tiling, with what the original graph gives where one or several of these dimensions are 1. What
survives that is right for all sizes; anything else is not replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import onnx_ir as ir

from s2deploy.rewrite.bounds import Bounds
from s2deploy.rewrite.contents import Content, Ramp, Shape
from s2deploy.rewrite.coordinates import Coord, Interval, UndecidedError, substituted
from s2deploy.rewrite.expressions import (
    Concat,
    Expand,
    Expression,
    Fill,
    Pad,
    Slice,
    Source,
    Squeeze,
    Transpose,
    Unsqueeze,
)
from s2deploy.rewrite.facts import Interpretation, Rule
from s2deploy.rewrite.merged import Movement
from s2deploy.rewrite.refusals import NotMovementError
from s2deploy.rewrite.regions import Tiling, concat

_MOST_DIMENSIONS = 3

Original = Callable[[Interpretation], "Movement | None"]
SourceOf = Callable[[Any, Shape], Tiling]


class Cases:
    """The graph as it is where some dimensions are 1.

    Args:
        graph: The graph, not changed yet.
        ranges: Smallest and largest size of named dimensions.
        rules: The rule of each operator.
        dimensions: The dimensions that may be 1; at most three make cases, more than that make none.
    """

    def __init__(
        self,
        graph: ir.Graph,
        ranges: Mapping[str, Interval],
        rules: Mapping[str, Rule],
        dimensions: Sequence[str],
    ) -> None:
        self.ranges = {name: ranges.get(name, (1, None)) for name in dimensions}
        self.assumed: dict[str, Interval] = dict(ranges)
        self._cases: list[tuple[dict[str, int], Interpretation]] = []
        if len(dimensions) > _MOST_DIMENSIONS:
            return
        for name in dimensions:
            self.assumed[name] = (2, ranges.get(name, (1, None))[1])
        for chosen in product((False, True), repeat=len(dimensions)):
            fixed = {name: 1 for name, one in zip(dimensions, chosen, strict=True) if one}
            if fixed:
                self._cases.append((fixed, Interpretation(graph, self.assumed, rules, fixed=fixed)))

    def __bool__(self) -> bool:
        return bool(self._cases)

    def hold(self, expression: Expression, original: Original) -> bool:
        """Whether an expression gives what the original graph gives in every case."""
        return all(
            _holds(facts, fixed, expression, original, Tiling.whole)
            # What is a source in general may be movement there: a Reshape that merges an axis of size 1.
            or _holds(facts, fixed, expression, original, lambda value, _, facts=facts: facts.tiling(value))  # type: ignore[misc]
            for fixed, facts in self._cases
        )


def _holds(
    facts: Interpretation, fixed: Mapping[str, int], expression: Expression, original: Original, source: SourceOf
) -> bool:
    try:
        expected = original(facts)
        if not isinstance(expected, Tiling):
            return False
        found = _tiling(facts.bounds, fixed, expression, source)
        if found.shape != expected.shape:
            return False
        found.combine(facts.bounds, expected, _same)
    except (NotMovementError, UndecidedError, _DifferentError):
        return False
    return True


class _DifferentError(Exception):
    """Two tilings differ, or an expression asks for what is not there."""


def _same(left: Content, right: Content, _: Shape) -> Content:
    if left != right:
        raise _DifferentError
    return left


def _tiling(bounds: Bounds, fixed: Mapping[str, int], expression: Expression, source: SourceOf) -> Tiling:
    """Returns what an expression computes where some dimensions have fixed sizes."""
    shape = tuple(substituted(size, fixed) for size in expression.shape)
    if isinstance(expression, Source):
        return source(expression.value, shape)
    if isinstance(expression, Fill):
        content = expression.content
        if isinstance(content, Ramp) and not isinstance(content.base, int):
            raise _DifferentError
        return Tiling.of(content, shape)
    if isinstance(expression, Concat):
        return concat(expression.axis, [_tiling(bounds, fixed, part, source) for part in expression.parts])
    of = _tiling(bounds, fixed, expression.of, source)
    if isinstance(expression, Slice):
        for window in expression.windows:
            start, size = substituted(window.start, fixed), substituted(window.size, fixed)
            _require_inside(bounds, start, size, window.step, of.shape[window.axis])
            of = of.slice(bounds, window.axis, start, size, window.step)
        return of
    if isinstance(expression, Transpose):
        return of.transpose(expression.perm)
    if isinstance(expression, Squeeze):
        return of.drop_axes(expression.axes)
    if isinstance(expression, Unsqueeze):
        return of.insert_axes(expression.axes)
    if isinstance(expression, Expand):
        return of.expand(shape)
    if isinstance(expression, Pad):
        result = Tiling.of(expression.fill, shape)
        return result.write(bounds, expression.before, of)
    raise _DifferentError  # a Reshape of split axes


def _require_inside(bounds: Bounds, start: Coord, size: Coord, step: int, total: Coord) -> None:
    last = start + (size - 1) * step
    inside = bounds.at_most(0, start) and bounds.at_most(0, size) and bounds.at_most(last + 1, total)
    if step < 0 or not inside:
        raise _DifferentError
