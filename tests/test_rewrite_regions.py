"""The region algebra against numpy, on random chains of movement over fixed and named sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from s2deploy.rewrite.bounds import Bounds
from s2deploy.rewrite.contents import Ramp, Read, Scalar
from s2deploy.rewrite.coordinates import Coord, UndecidedError, dimension
from s2deploy.rewrite.emit import emit
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
from s2deploy.rewrite.regions import Tiling, concat


def value(coord: Coord, sizes: dict[str, int]) -> int:
    if isinstance(coord, int):
        return coord
    total = 0
    for monomial, coefficient in coord.terms:
        total += coefficient * int(np.prod([sizes[name] for name in monomial], dtype=int))
    return total


def evaluate(tiling: Tiling, sizes: dict[str, int], sources: dict[Any, np.ndarray]) -> np.ndarray:
    """Builds the array a tiling describes, and checks that its boxes cover it once."""
    shape = tuple(value(size, sizes) for size in tiling.shape)
    result = np.zeros(shape, dtype=np.int64)
    covered = np.zeros(shape, dtype=np.int64)
    for origin, box, content in tiling.boxes():
        begin = [value(c, sizes) for c in origin]
        extent = [value(c, sizes) for c in box]
        grid = np.indices(extent)
        if isinstance(content, Read):
            index = []
            for axis in content.axes:
                start = value(axis.start, sizes)
                position = start + (0 if axis.out is None else axis.step * grid[axis.out])
                index.append(np.broadcast_to(position, extent))
            values = sources[content.source][tuple(index)] if index else sources[content.source]
            assert all((i >= 0).all() for i in index)
        elif isinstance(content, Ramp):
            values = value(content.base, sizes) + sum(
                value(step, sizes) * grid[a] for a, step in enumerate(content.steps)
            )
        else:
            values = content.key
        region = tuple(slice(b, b + e) for b, e in zip(begin, extent, strict=True))
        result[region] = values
        covered[region] += 1
    assert (covered == 1).all()
    return result


def compute(expression: Expression, sizes: dict[str, int], sources: dict[Any, np.ndarray]) -> np.ndarray:
    """Computes an expression with numpy, checking the shape it states."""
    result: np.ndarray
    if isinstance(expression, Source):
        result = sources[expression.value]
    elif isinstance(expression, Fill):
        tiling = Tiling.of(expression.content, expression.shape)
        return evaluate(tiling, sizes, sources)
    elif isinstance(expression, Concat):
        result = np.concatenate([compute(part, sizes, sources) for part in expression.parts], expression.axis)
    else:
        of = compute(expression.of, sizes, sources)
        if isinstance(expression, Slice):
            result = of
            for w in expression.windows:
                index = value(w.start, sizes) + w.step * np.arange(value(w.size, sizes))
                assert (index >= 0).all()
                result = np.take(result, index, axis=w.axis)
        elif isinstance(expression, Transpose):
            result = of.transpose(expression.perm)
        elif isinstance(expression, Squeeze):
            result = np.squeeze(of, expression.axes)
        elif isinstance(expression, Unsqueeze):
            result = np.expand_dims(of, expression.axes)
        elif isinstance(expression, Expand):
            result = np.broadcast_to(of, [value(c, sizes) for c in expression.shape])
        elif isinstance(expression, Pad):
            assert isinstance(expression.fill, Scalar)
            widths = list(zip(expression.before, expression.after, strict=True))
            result = np.pad(of, widths, constant_values=expression.fill.key)
    assert result.shape == tuple(value(c, sizes) for c in expression.shape)
    return result


H, W = dimension("H"), dimension("W")
RANGES = {"H": (4, None), "W": (4, None)}


@st.composite
def programs(
    draw: st.DrawFn,
) -> tuple[Tiling, np.ndarray, dict[str, int], dict[Any, np.ndarray], Bounds, dict[Any, Any]]:
    """A random chain of movements, run on a tiling and on an array at once."""
    symbolic = draw(st.booleans())
    sizes = {"H": draw(st.integers(4, 7)), "W": draw(st.integers(4, 7))}
    shape: tuple[Coord, ...] = (2, H, W, 4) if symbolic else (2, sizes["H"], sizes["W"], 4)
    bounds = Bounds(RANGES)
    sources: dict[Any, np.ndarray] = {}
    shapes: dict[Any, Any] = {}

    def fresh(name: str, dims: tuple[Coord, ...]) -> tuple[Tiling, np.ndarray]:
        extent = [value(c, sizes) for c in dims]
        shapes[name] = dims
        sources[name] = np.arange(int(np.prod(extent, dtype=int))).reshape(extent) + 1000 * len(sources)
        return Tiling.whole(name, dims), sources[name]

    def window(size: Coord, label: str) -> tuple[Coord, Coord]:
        """A start and a size inside an axis, sometimes relative to its end."""
        if isinstance(size, int):
            start = draw(st.integers(0, max(size - 1, 0)), label=label)
            return start, draw(st.integers(0, size - start), label=label)
        kind = draw(st.integers(0, 4), label=label)
        known = bounds.interval(size)[0] or 0
        low = draw(st.integers(0, min(known, 2)), label=label)
        if kind == 0:
            return 0, size
        if kind == 1:
            return low, size - low
        if kind == 2:
            return 0, size - low
        if kind == 3:
            return low, min(known - low, 2)
        return size - low, low

    def act(step: int, tiling: Tiling, array: np.ndarray) -> tuple[Tiling, np.ndarray]:
        action = draw(st.sampled_from(["write", "shift", "slice", "concat", "perm", "expand", "ones", "fill", "flip"]))
        rank = tiling.rank
        if action in ("write", "shift", "fill"):
            windows = [window(size, f"axis{t}") for t, size in enumerate(tiling.shape)]
            starts = tuple(start for start, _ in windows)
            box = tuple(size for _, size in windows)
            region = tuple(
                slice(value(b, sizes), value(b, sizes) + value(e, sizes)) for b, e in zip(starts, box, strict=True)
            )
            if action == "fill":
                update, values = Tiling.of(Scalar(-step), box), np.full([value(e, sizes) for e in box], -step)
            elif action == "write":
                update, values = fresh(f"u{step}", box)
            else:
                update, values = tiling, array
                for axis, size in enumerate(box):
                    room = tiling.shape[axis] - size
                    start = draw(st.sampled_from([0, room]))
                    update = update.slice(bounds, axis, start, size)
                    values = np.take(values, np.arange(value(size, sizes)) + value(start, sizes), axis=axis)
            tiling = tiling.write(bounds, starts, update)
            array = array.copy()
            array[region] = values
        elif action == "slice":
            axis = draw(st.integers(0, rank - 1))
            start, size = window(tiling.shape[axis], "slice")
            stride = 1
            if isinstance(size, int) and isinstance(start, int) and size > 1:
                stride = draw(st.sampled_from([1, 2]))
                size = (size + stride - 1) // stride
            if size == 0:
                return tiling, array
            tiling = tiling.slice(bounds, axis, start, size, stride)
            index = value(start, sizes) + stride * np.arange(value(size, sizes))
            array = np.take(array, index, axis=axis)
        elif action == "flip":
            axis = draw(st.integers(0, rank - 1))
            size = tiling.shape[axis]
            tiling = tiling.slice(bounds, axis, size - 1, size, -1)
            array = np.flip(array, axis)
        elif action == "concat":
            axis = draw(st.integers(0, rank - 1))
            other, values = draw(st.sampled_from(pool))
            alike = other.rank == rank and all(
                a == b for t, (a, b) in enumerate(zip(other.shape, tiling.shape, strict=True)) if t != axis
            )
            if not alike:
                other, values = tiling, array
            tiling = concat(axis, [tiling, other])
            array = np.concatenate([array, values], axis)
        elif action == "perm":
            perm = draw(st.permutations(range(rank)))
            tiling, array = tiling.transpose(perm), array.transpose(perm)
        elif action == "ones" and rank < 6:
            axis = draw(st.integers(0, rank))
            tiling, array = tiling.insert_axes([axis]), np.expand_dims(array, axis)
        elif action == "ones":
            axes = [t for t, size in enumerate(tiling.shape) if size == 1][:1]
            tiling, array = tiling.drop_axes(axes), np.squeeze(array, tuple(axes))
        elif action == "expand":
            grown = tuple(3 if size == 1 else size for size in tiling.shape)
            tiling = tiling.expand(grown)
            array = np.broadcast_to(array, [value(size, sizes) for size in grown])
        return tiling, array

    tiling, array = fresh("x", shape)
    pool = [(tiling, array)]
    for step in range(draw(st.integers(1, 8), label="length")):
        try:
            tiling, array = act(step, tiling, array)
        except UndecidedError:
            continue
        pool.append((tiling, array))
    return tiling, array, sizes, sources, bounds, shapes


@settings(max_examples=300)
@given(programs())
def test_chain_equals_numpy(program: Any) -> None:
    tiling, array, sizes, sources, _, _ = program
    np.testing.assert_array_equal(evaluate(tiling, sizes, sources), array)


@settings(max_examples=300)
@given(programs())
def test_expression_equals_numpy(program: Any) -> None:
    tiling, array, sizes, sources, bounds, shapes = program
    expression = emit(bounds, tiling, lambda source: shapes[source])
    np.testing.assert_array_equal(compute(expression, sizes, sources), array)
