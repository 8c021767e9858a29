"""Arithmetic on tensors as terms, so that it can be rearranged before there are any nodes.

The functions below are the way to make terms. They keep views, which cost nothing where they cancel, on the outside:
``view(a) + view(b)`` is ``view(a + b)``, a reduction of whole groups of axes reduces what is viewed, a view of a view
is one view, and reducing an axis of size 1 is a view. Terms are values: equal terms are equal tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import onnx_ir as ir

from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.coordinates import Coord
from s2deploy.rewrite.views import broadcast, reduced_axes, seen_from, size_of, without


@dataclass(frozen=True)
class Leaf:
    """A tensor that exists."""

    value: ir.Value
    shape: Shape
    dtype: ir.DataType


@dataclass(frozen=True)
class Number:
    """One number, broadcast to whatever it is combined with."""

    number: float
    dtype: ir.DataType
    shape: Shape = ()


@dataclass(frozen=True)
class View:
    """A tensor in another shape."""

    of: Term
    shape: Shape
    dtype: ir.DataType


@dataclass(frozen=True)
class Permuted:
    """A tensor with axis ``t`` taken from axis ``perm[t]``."""

    of: Term
    perm: tuple[int, ...]
    shape: Shape
    dtype: ir.DataType


@dataclass(frozen=True)
class Part:
    """One of the pieces that a tensor is divided into along an axis."""

    of: Term
    axis: int
    index: int
    sizes: Shape
    shape: Shape
    dtype: ir.DataType


@dataclass(frozen=True)
class Joined:
    """Tensors joined along an axis."""

    axis: int
    parts: tuple[Term, ...]
    shape: Shape
    dtype: ir.DataType


@dataclass(frozen=True)
class Applied:
    """An elementwise operator, or a matrix product; attributes are those of `like`, where there is such a node."""

    op_type: str
    operands: tuple[Term | None, ...]
    shape: Shape
    dtype: ir.DataType
    like: ir.Node | None = None


@dataclass(frozen=True)
class Reduced:
    """A tensor reduced over some axes, which it no longer has."""

    op_type: str
    of: Term
    axes: tuple[int, ...]
    shape: Shape
    dtype: ir.DataType


Term: TypeAlias = "Leaf | Number | View | Permuted | Part | Joined | Applied | Reduced"


def viewed(of: Term, shape: Shape) -> Term:
    """Returns a tensor in another shape."""
    if isinstance(of, View):
        return viewed(of.of, shape)
    if of.shape == shape:
        return of
    return (_part_of_view(of, shape) if isinstance(of, Part) else None) or View(of, shape, of.dtype)


def _part_of_view(of: Part, shape: Shape) -> Term | None:
    """Returns a piece of size 1 in another shape as a piece of the whole in another shape, so that one view does."""
    if any(size != 1 for size in of.sizes):
        return None
    before = size_of(of.shape[: of.axis])
    for axis, size in enumerate(shape):
        if size == 1 and size_of(shape[:axis]) == before:
            return part(viewed(of.of, (*shape[:axis], len(of.sizes), *shape[axis + 1 :])), axis, of.index, of.sizes)
    return None


def permuted(of: Term, perm: Sequence[int]) -> Term:
    """Returns a tensor with its axes in another order."""
    if list(perm) == list(range(len(perm))):
        return of
    return Permuted(of, tuple(perm), tuple(of.shape[p] for p in perm), of.dtype)


def part(of: Term, axis: int, index: int, sizes: Shape) -> Term:
    """Returns one of the pieces of the given sizes along an axis.

    Pieces of size 1 of a view become pieces along the next axis that is longer, if there is one: that one holds the
    channels, as a rule, and pieces of it can be told from other channels no more.
    """
    following = range(axis + 1, len(of.shape))
    longer = next((other for other in following if of.shape[other] != 1), None)
    if isinstance(of, View) and longer is not None and all(size == 1 for size in sizes):
        size, shape = of.shape[longer], list(of.shape)
        shape[axis], shape[longer] = 1, size * len(sizes)
        return part(viewed(of, tuple(shape)), longer, index, (size,) * len(sizes))
    return Part(of, axis, index, sizes, (*of.shape[:axis], sizes[index], *of.shape[axis + 1 :]), of.dtype)


def joined(axis: int, parts: Sequence[Term]) -> Term:
    """Returns tensors joined along an axis."""
    size: Coord = 0
    for one in parts:
        size = size + one.shape[axis]
    shape = (*parts[0].shape[:axis], size, *parts[0].shape[axis + 1 :])
    return parts[0] if len(parts) == 1 else Joined(axis, tuple(parts), shape, parts[0].dtype)


def applied(
    op_type: str, operands: Sequence[Term | None], dtype: ir.DataType, like: ir.Node | None = None
) -> Term | None:
    """Returns an elementwise operator on tensors; None where the shape it gives is not known."""
    given = [operand for operand in operands if operand is not None]
    shape = broadcast([operand.shape for operand in given])
    if shape is None:
        return None
    for operand in given:
        if isinstance(operand, View) and operand.shape == shape:
            inner = operand.of.shape
            within = [None if one is None else _within(one, inner, shape) for one in operands]
            if all(after is not None for before, after in zip(operands, within, strict=True) if before is not None):
                return viewed(Applied(op_type, tuple(within), inner, dtype, like), shape)
    return Applied(op_type, tuple(operands), shape, dtype, like)


def _within(operand: Term, inner: Shape, outer: Shape) -> Term | None:
    """Returns an operand as it is broadcast to the inner shape."""
    if isinstance(operand, View) and operand.shape == outer and operand.of.shape == inner:
        return operand.of
    shape = seen_from(inner, outer, operand.shape)
    if shape is None:
        return None
    short = operand.shape
    while short and short[0] == 1:
        short = short[1:]
    return operand if short == shape and len(operand.shape) <= len(inner) else viewed(operand, shape)


def reduced(op_type: str, of: Term, axes: Sequence[int]) -> Term:
    """Returns a tensor reduced over some axes, which it no longer has."""
    shape = without(of.shape, axes)
    wide = tuple(axis for axis in sorted(axes) if of.shape[axis] != 1)
    if not wide:
        return viewed(of, shape)
    if isinstance(of, View):
        inner = reduced_axes(of.of.shape, of.shape, wide)
        if inner is not None:
            return viewed(reduced(op_type, of.of, inner), shape)
    return viewed(Reduced(op_type, of, wide, without(of.shape, wide), of.dtype), shape)


def operands_of(term: Term) -> tuple[Term, ...]:
    """Returns the terms a term is computed from."""
    if isinstance(term, (Leaf, Number)):
        return ()
    if isinstance(term, Joined):
        return term.parts
    if isinstance(term, Applied):
        return tuple(operand for operand in term.operands if operand is not None)
    return (term.of,)


def walk(term: Term, seen: set[Term]) -> Iterator[Term]:
    """Yields every term once, operands first, leaving out those in `seen` and adding to it."""
    if term in seen:
        return
    seen.add(term)
    for operand in operands_of(term):
        yield from walk(operand, seen)
    yield term
