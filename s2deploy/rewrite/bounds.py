"""What the declared ranges of named dimensions decide about coordinates.

A comparison is three-valued: it is decided only if the ranges imply it, and every decision that depended on a range is
kept as a guard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cmp_to_key

from s2deploy.rewrite.coordinates import Coord, Interval, Monomial, UndecidedError, names, quotient_of, terms_of

UNKNOWN = "_unknown"
"""What the names of sizes begin with that are known at run time alone."""


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
    terms = dict(terms_of(difference))
    constant = terms.pop((), 0)
    involved = sorted(names(difference))
    if any(UNKNOWN in name for name in involved):
        return f"{', '.join(involved)}, computed at run time"
    advice = None
    if len(terms) == 1 and len(involved) == 1:
        ((monomial, factor),) = terms.items()
        if len(monomial) == 1:
            threshold = -(constant // factor) if factor > 0 else constant // -factor + 1
            advice = _at_least(involved[0], threshold)
    for name in involved:
        whole, multiple = _multiple(name)
        if multiple != 1:
            declare = f"declare {advice[1]}, or that" if advice else "declare that"
            return f"{whole}; {declare} it is a multiple, {whole}=MIN..MAX/{multiple}"
    if advice:
        return f"{advice[0]}; declare {advice[1]}"
    return f"{', '.join(involved)}; declare ranges that decide it"


def _at_least(name: str, least: int) -> tuple[str, str] | None:
    """Returns the dimension that a quotient grows with, and the range from which on it is large enough."""
    quotient = quotient_of(name)
    if quotient is None:
        return name, f"a range of {least} or more"
    terms = dict(terms_of(quotient[0]))
    constant = terms.pop((), 0)
    if len(terms) != 1:
        return None
    ((monomial, factor),) = terms.items()
    return (
        None
        if len(monomial) != 1 or factor < 1
        else _at_least(monomial[0], -((constant - least * quotient[1]) // factor))
    )


def _multiple(name: str) -> tuple[str, int]:
    """Returns the dimension that a quotient divides and by how much; 1 where a name is no quotient of one."""
    quotient = quotient_of(name)
    involved = sorted(names(quotient[0])) if quotient is not None else []
    if quotient is None or len(involved) != 1:
        return name, 1
    whole, multiple = _multiple(involved[0])
    return whole, multiple * quotient[1]
