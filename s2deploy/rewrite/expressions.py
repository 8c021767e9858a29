"""Movement as an expression: what `emit.py` makes of a tiling and `lower.py` turns into ONNX nodes.

Expressions are values: equal expressions are equal tensors, so one is computed once however often it is used.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from s2deploy.rewrite.contents import Ramp, Scalar, Shape
from s2deploy.rewrite.coordinates import Coord


@dataclass(frozen=True)
class Source:
    """A tensor that already exists."""

    value: Hashable
    shape: Shape


@dataclass(frozen=True)
class Window:
    """``size`` elements along an axis, the first at ``start``, ``step`` apart."""

    axis: int
    start: Coord
    size: Coord
    step: int


@dataclass(frozen=True)
class Slice:
    """A box of a tensor."""

    of: Expression
    windows: tuple[Window, ...]
    shape: Shape


@dataclass(frozen=True)
class Transpose:
    """A tensor with axis ``t`` taken from axis ``perm[t]``."""

    of: Expression
    perm: tuple[int, ...]
    shape: Shape


@dataclass(frozen=True)
class Squeeze:
    """A tensor without the given axes of size 1."""

    of: Expression
    axes: tuple[int, ...]
    shape: Shape


@dataclass(frozen=True)
class Unsqueeze:
    """A tensor with axes of size 1 at the given positions of the result."""

    of: Expression
    axes: tuple[int, ...]
    shape: Shape


@dataclass(frozen=True)
class Reshape:
    """A tensor whose split axes are one again."""

    of: Expression
    shape: Shape


@dataclass(frozen=True)
class DepthToSpace:
    """``block * block`` images along axis 1 of N x C x H x W interleaved, rows of blocks first."""

    of: Expression
    block: int
    shape: Shape


@dataclass(frozen=True)
class Expand:
    """A tensor broadcast to a shape of the same rank."""

    of: Expression
    shape: Shape


@dataclass(frozen=True)
class Concat:
    """Tensors joined along an axis."""

    axis: int
    parts: tuple[Expression, ...]
    shape: Shape


@dataclass(frozen=True)
class Pad:
    """A tensor with a border of one constant, ``before[t]`` and ``after[t]`` elements wide."""

    of: Expression
    before: tuple[int, ...]
    after: tuple[int, ...]
    fill: Scalar | Ramp
    shape: Shape


@dataclass(frozen=True)
class Gather:
    """Elements of a tensor along an axis, in the order of constant indices."""

    of: Expression
    axis: int
    indices: tuple[int, ...]
    shape: Shape


@dataclass(frozen=True)
class Fill:
    """A tensor of one constant, or an integer ramp."""

    content: Scalar | Ramp
    shape: Shape


Expression: TypeAlias = (
    "Source | Slice | Transpose | Squeeze | Unsqueeze | Reshape | DepthToSpace | Expand | Concat | Pad | Gather | Fill"
)


def operator_of(expression: Expression) -> str | None:
    """Returns the ONNX operator that computes an expression from its operands, None where there is nothing to do."""
    if isinstance(expression, Source):
        return None
    if isinstance(expression, Fill):
        return None if all(isinstance(size, int) for size in expression.shape) else "ConstantOfShape"
    return type(expression).__name__


def operands(expression: Expression) -> tuple[Expression, ...]:
    """Returns the expressions an expression is computed from."""
    if isinstance(expression, Concat):
        return expression.parts
    if isinstance(expression, (Source, Fill)):
        return ()
    return (expression.of,)


def walk(expression: Expression, seen: set[Expression]) -> Iterator[Expression]:
    """Yields every expression once, operands first, leaving out those in `seen` and adding to it."""
    if expression in seen:
        return
    seen.add(expression)
    for operand in operands(expression):
        yield from walk(operand, seen)
    yield expression


def elements(shape: Shape, sizes: Mapping[str, int]) -> int:
    """Returns the number of elements of a shape at given sizes; 8 for a size not given."""
    total = 1
    for size in shape:
        total *= at(size, sizes)
    return total


def at(coord: Coord, sizes: Mapping[str, int]) -> int:
    """Returns a coordinate at given sizes, 8 for a size not given, never below zero."""
    if isinstance(coord, int):
        return coord
    total = 0
    for monomial, coefficient in coord.terms:
        for name in monomial:
            coefficient *= sizes.get(name, 8)
        total += coefficient
    return max(total, 0)
