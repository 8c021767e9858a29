"""Coordinates: integers that may depend on named dimensions, and what their declared ranges decide about them.

A coordinate is a plain ``int`` or a `Poly`, an integer polynomial over named dimensions in canonical form
(``2*height + width - 1``). Polynomials rather than affine forms, because a flattened size is a product
(``height*width``); anything else, such as a quotient with a remainder, is an opaque name of its own.

What declared ranges decide about coordinates is in `bounds.py`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Interval: TypeAlias = "tuple[int, int | None]"
Monomial: TypeAlias = "tuple[str, ...]"
Coord: TypeAlias = "int | Poly"


class UndecidedError(Exception):
    """A comparison that the declared ranges do not decide; the message names the range that would.

    Args:
        message: What is not decided.
        dimensions: The named dimensions it depends on.
    """

    def __init__(self, message: str, dimensions: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.dimensions = frozenset(dimensions)


@dataclass(frozen=True)
class Poly:
    """An integer polynomial: sorted ``(monomial, coefficient)`` terms, at least one of them not constant."""

    terms: tuple[tuple[Monomial, int], ...]

    def __add__(self, other: Coord) -> Coord:
        total = dict(self.terms)
        for monomial, coefficient in terms_of(other):
            total[monomial] = total.get(monomial, 0) + coefficient
        return _poly(total)

    def __radd__(self, other: int) -> Coord:
        return self + other

    def __neg__(self) -> Coord:
        return _poly({monomial: -coefficient for monomial, coefficient in self.terms})

    def __sub__(self, other: Coord) -> Coord:
        return self + -other

    def __rsub__(self, other: int) -> Coord:
        return -self + other

    def __mul__(self, other: Coord) -> Coord:
        total: dict[Monomial, int] = {}
        for left, first in self.terms:
            for right, second in terms_of(other):
                monomial = tuple(sorted(left + right))
                total[monomial] = total.get(monomial, 0) + first * second
        return _poly(total)

    def __rmul__(self, other: int) -> Coord:
        return self * other

    def __str__(self) -> str:
        text = ""
        for monomial, coefficient in sorted(self.terms, key=lambda term: (not term[0], term)):
            sign = "-" if coefficient < 0 else "+"
            factors = [name if name.isidentifier() else f"({name})" for name in monomial]
            if abs(coefficient) != 1 or not monomial:
                factors.insert(0, str(abs(coefficient)))
            text += f" {sign} {'*'.join(factors)}" if text else ("-" if sign == "-" else "") + "*".join(factors)
        return text


def dimension(name: str) -> Coord:
    """Returns the coordinate of one named dimension."""
    return Poly((((name,), 1),))


def names(coord: Coord) -> set[str]:
    """Returns the names a coordinate depends on."""
    return set() if isinstance(coord, int) else {name for monomial, _ in coord.terms for name in monomial}


def substituted(coord: Coord, sizes: Mapping[str, Coord]) -> Coord:
    """Returns a coordinate with some named dimensions replaced by their sizes."""
    if isinstance(coord, int) or not sizes:
        return coord
    total: Coord = 0
    for monomial, factor in coord.terms:
        term: Coord = factor
        for name in monomial:
            term = term * _size_of(name, sizes)
        total = total + term
    return total


def _size_of(name: str, sizes: Mapping[str, Coord]) -> Coord:
    if name in sizes:
        return sizes[name]
    quotient = quotient_of(name)
    if quotient is None or not names(quotient[0]) & set(sizes):
        return dimension(name)
    return floor_divide(substituted(quotient[0], sizes), quotient[1])


def divide(coord: Coord, divisor: Coord) -> Coord | None:
    """Returns the exact quotient of a coordinate by an integer or a single term; None if it does not divide."""
    divisor_terms = terms_of(divisor)
    if len(divisor_terms) != 1 or divisor_terms[0][1] == 0:
        return 1 if coord == divisor and not isinstance(divisor, int) else None
    (by, factor) = divisor_terms[0]
    total: dict[Monomial, int] = {}
    for monomial, coefficient in terms_of(coord):
        left = list(monomial)
        for name in by:
            if name not in left:
                return None
            left.remove(name)
        if coefficient % factor:
            return None
        total[tuple(left)] = coefficient // factor
    return _poly(total)


def floor_divide(coord: Coord, divisor: Coord) -> Coord:
    """Returns the floored quotient, an opaque name where it is not exact."""
    if isinstance(coord, int) and isinstance(divisor, int) and divisor:
        return coord // divisor
    exact = 0 if coord == 0 else divide(coord, divisor)
    if exact is not None:
        return exact
    if not isinstance(divisor, int) or divisor < 1:
        return dimension(f"({coord})//({divisor})")
    # Whole multiples of the divisor leave the quotient: (6*h + 5) // 3 is 2*h + 1.
    whole = _poly({monomial: coefficient // divisor * divisor for monomial, coefficient in terms_of(coord)})
    rest = coord - whole
    return _divided(whole, divisor) + (0 if isinstance(rest, int) else dimension(f"({rest})//({divisor})"))


def _divided(coord: Coord, divisor: int) -> Coord:
    return _poly({monomial: coefficient // divisor for monomial, coefficient in terms_of(coord)})


def parse(text: str) -> Coord:
    """Reads a dimension as exporters write it (``s0``, ``2*height - 1``, ``((s1 - 7)//7) + 1``)."""
    try:
        return _from_ast(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError):
        return dimension(text)


def terms_of(coord: Coord) -> tuple[tuple[Monomial, int], ...]:
    """Returns the monomials of a coordinate with their factors."""
    return (((), coord),) if isinstance(coord, int) else coord.terms


def _poly(total: Mapping[Monomial, int]) -> Coord:
    terms = tuple(sorted((monomial, coefficient) for monomial, coefficient in total.items() if coefficient))
    if not terms:
        return 0
    return terms[0][1] if terms[-1][0] == () else Poly(terms)


def _from_ast(node: ast.expr) -> Coord:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.Name):
        return dimension(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_from_ast(node.operand)
    if isinstance(node, ast.BinOp):
        left, right = _from_ast(node.left), _from_ast(node.right)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.Mult):
            return left * right
        if isinstance(node.op, ast.FloorDiv):
            return floor_divide(left, right)
    return dimension(ast.unparse(node))


def quotient_of(name: str) -> tuple[Coord, int] | None:
    """Splits the opaque name that `floor_divide` gives into numerator and positive integer divisor."""
    try:
        node = ast.parse(name, mode="eval").body
    except SyntaxError:
        return None
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv)):
        return None
    divisor = _from_ast(node.right)
    return (_from_ast(node.left), divisor) if isinstance(divisor, int) and divisor > 0 else None
