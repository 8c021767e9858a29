"""Coordinates: integers that may depend on named dimensions, and what their declared ranges decide about them.

A coordinate is a plain ``int`` or a `Poly`, an integer polynomial over named dimensions in canonical form
(``2*height + width - 1``). Polynomials rather than affine forms, because a flattened size is a product
(``height*width``); anything else, such as a quotient with a remainder, is an opaque name of its own.

A comparison is three-valued: `Bounds` decides it only if the declared ranges imply it, and keeps every decision
that depended on a range as a guard.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cmp_to_key
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
        for monomial, coefficient in _terms(other):
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
            for right, second in _terms(other):
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
    divisor_terms = _terms(divisor)
    if len(divisor_terms) != 1 or divisor_terms[0][1] == 0:
        return 1 if coord == divisor and not isinstance(divisor, int) else None
    (by, factor) = divisor_terms[0]
    total: dict[Monomial, int] = {}
    for monomial, coefficient in _terms(coord):
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
    exact = divide(coord, divisor)
    if exact is not None:
        return exact
    if not isinstance(divisor, int) or divisor < 1:
        return dimension(f"({coord})//({divisor})")
    # Whole multiples of the divisor leave the quotient: (6*h + 5) // 3 is 2*h + 1.
    whole = _poly({monomial: coefficient // divisor * divisor for monomial, coefficient in _terms(coord)})
    rest = coord - whole
    return _divided(whole, divisor) + (0 if isinstance(rest, int) else dimension(f"({rest})//({divisor})"))


def _divided(coord: Coord, divisor: int) -> Coord:
    return _poly({monomial: coefficient // divisor for monomial, coefficient in _terms(coord)})


def parse(text: str) -> Coord:
    """Reads a dimension as exporters write it (``s0``, ``2*height - 1``, ``((s1 - 7)//7) + 1``)."""
    try:
        return _from_ast(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError):
        return dimension(text)


class Bounds:
    """What is known of the named dimensions, and the decisions that rest on it.

    Args:
        ranges: Smallest and largest size by name; None as largest means no limit. A name not listed is at least 1,
            unless its text is an expression over listed names, which is then evaluated.
    """

    def __init__(self, ranges: Mapping[str, Interval] | None = None) -> None:
        self._ranges = dict(ranges or {})
        self._guards: dict[str, tuple[Coord, Coord]] = {}

    @property
    def guards(self) -> tuple[str, ...]:
        """The comparisons decided by a declared range so far, as texts."""
        return tuple(self._guards)

    def guards_within(self, ranges: Mapping[str, Interval]) -> tuple[str, ...]:
        """Returns the guards that wider ranges decide as well."""
        wider = Bounds({**self._ranges, **ranges})
        for left, right in self._guards.values():
            wider.at_most(left, right)
            wider.equal(left, right)
        return tuple(text for text in self._guards if text in wider._guards)

    def declare(self, name: str, interval: Interval) -> None:
        """Records the range of one more name."""
        self._ranges[name] = interval

    def interval(self, coord: Coord) -> tuple[int | None, int | None]:
        """Returns the smallest and largest value of a coordinate, None where there is no limit."""
        if isinstance(coord, int):
            return coord, coord
        low: int | None = 0
        high: int | None = 0
        for monomial, coefficient in coord.terms:
            least, most = self._monomial(monomial)
            below, above = (least, most) if coefficient >= 0 else (most, least)
            low = None if low is None or below is None else low + coefficient * below
            high = None if high is None or above is None else high + coefficient * above
        return low, high

    def at_most(self, left: Coord, right: Coord) -> bool | None:
        """Whether ``left <= right``: always, never, or None where it depends on the sizes."""
        if isinstance(left, int) and isinstance(right, int):
            return left <= right
        low, high = self.interval(right - left)
        verdict = True if low is not None and low >= 0 else False if high is not None and high < 0 else None
        if verdict is not None and not isinstance(right - left, int):
            self._guards[f"{left} {'<=' if verdict else '>'} {right}"] = (left, right)
        return verdict

    def equal(self, left: Coord, right: Coord) -> bool | None:
        """Whether ``left == right``: always, never, or None where it depends on the sizes."""
        if left == right:
            return True
        low, high = self.interval(right - left)
        apart = (low is not None and low > 0) or (high is not None and high < 0)
        if not apart and not low == high == 0:
            return None
        if not isinstance(right - left, int):
            self._guards[f"{left} {'!=' if apart else '=='} {right}"] = (left, right)
        return not apart

    def require_at_most(self, left: Coord, right: Coord) -> bool:
        """Decides ``left <= right``.

        Raises:
            UndecidedError: The ranges do not decide it.
        """
        verdict = self.at_most(left, right)
        if verdict is None:
            reason = f"whether {left} <= {right} depends on {_decisive_range(right - left)}"
            raise UndecidedError(reason, names(right - left))
        return verdict

    def smaller(self, left: Coord, right: Coord) -> Coord:
        """Returns the smaller of two coordinates, or raises `UndecidedError`."""
        return left if self._precedes(left, right) else right

    def larger(self, left: Coord, right: Coord) -> Coord:
        """Returns the larger of two coordinates, or raises `UndecidedError`."""
        return right if self._precedes(left, right) else left

    def sort(self, coords: Iterable[Coord]) -> list[Coord]:
        """Returns the distinct coordinates in ascending order, or raises `UndecidedError`."""
        unique = list(dict.fromkeys(coords))
        if all(isinstance(coord, int) for coord in unique):
            return sorted(unique)  # type: ignore[type-var]  # every element is an int here
        order: Callable[[Coord, Coord], int] = lambda a, b: -1 if self._precedes(a, b) else 1  # noqa: E731
        return sorted(unique, key=cmp_to_key(order))

    def _precedes(self, left: Coord, right: Coord) -> bool:
        """Returns an order of two coordinates that holds at every size, equal ones either way."""
        verdict = self.at_most(left, right)
        if verdict is None and self.at_most(right, left):
            return False
        return self.require_at_most(left, right) if verdict is None else verdict

    def _monomial(self, monomial: Monomial) -> tuple[int | None, int | None]:
        low: int | None = 1
        high: int | None = 1
        for name in monomial:
            least, most = self._name(name)
            if least < 0:
                return None, None
            low = None if low is None else low * least
            high = None if high is None or most is None else high * most
        return low, high

    def _name(self, name: str) -> Interval:
        if name not in self._ranges:
            # A dimension is at least 1; the quotient of two sizes need not be.
            self._ranges[name] = (0 if "//" in name else 1, None)
            quotient = quotient_of(name)
            if quotient is not None:
                low, high = self.interval(quotient[0])
                divisor = quotient[1]
                self._ranges[name] = (
                    1 if low is None else max(low // divisor, 0),
                    None if high is None else high // divisor,
                )
        return self._ranges[name]


def _decisive_range(difference: Coord) -> str:
    """Returns which range of which dimension would decide the sign of a difference, as far as one does."""
    terms = dict(_terms(difference))
    constant = terms.pop((), 0)
    involved = sorted(names(difference))
    for name in involved:
        whole, multiple = _multiple(name)
        if multiple != 1:
            return f"{whole}; declare that it is a multiple, {whole}=MIN..MAX/{multiple}"
    if len(terms) == 1 and len(involved) == 1:
        ((monomial, factor),) = terms.items()
        if len(monomial) == 1:
            threshold = -(constant // factor) if factor > 0 else constant // -factor + 1
            return f"{involved[0]}; declare a range of {threshold} or more"
    return f"{', '.join(involved)}; declare ranges that decide it"


def _multiple(name: str) -> tuple[str, int]:
    """Returns the dimension that a quotient divides and by how much; 1 where a name is no quotient of one."""
    quotient = quotient_of(name)
    involved = sorted(names(quotient[0])) if quotient is not None else []
    if quotient is None or len(involved) != 1:
        return name, 1
    whole, multiple = _multiple(involved[0])
    return whole, multiple * quotient[1]


def _terms(coord: Coord) -> tuple[tuple[Monomial, int], ...]:
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
