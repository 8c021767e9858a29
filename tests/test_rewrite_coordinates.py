"""Coordinates against Python integers at random sizes, and what ranges decide about them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2deploy.rewrite.bounds import Bounds
from s2deploy.rewrite.coordinates import (
    Coord,
    Interval,
    Poly,
    UndecidedError,
    dimension,
    divide,
    floor_divide,
    names,
    parse,
)

H, W = dimension("H"), dimension("W")
SIZES = {"H": st.integers(1, 9), "W": st.integers(1, 9)}
sizes = st.fixed_dictionaries(SIZES)
small = st.integers(-6, 6)


def at(coord: Coord, values: dict[str, int]) -> int:
    """Evaluates a coordinate, opaque quotients included."""
    if isinstance(coord, int):
        return coord
    total = 0
    for monomial, factor in coord.terms:
        for name in monomial:
            factor *= values[name] if name in values else eval(name, {}, dict(values))
        total += factor
    return total


def combined(children: st.SearchStrategy[Coord]) -> st.SearchStrategy[Coord]:
    pairs = st.tuples(children, children)
    return st.one_of(
        pairs.map(lambda p: p[0] + p[1]), pairs.map(lambda p: p[0] - p[1]), pairs.map(lambda p: p[0] * p[1])
    )


coords = st.recursive(st.one_of(small, st.sampled_from([H, W])), combined, max_leaves=6)


@given(coords, coords, sizes)
def test_arithmetic(left: Coord, right: Coord, values: dict[str, int]) -> None:
    first, second = at(left, values), at(right, values)
    assert at(left + right, values) == first + second
    assert at(left - right, values) == first - second
    assert at(left * right, values) == first * second
    assert at(-left, values) == -first


@given(coords, coords)
def test_canonical_form(left: Coord, right: Coord) -> None:
    assert left + right == right + left
    assert left * right == right * left
    assert left - left == 0
    assert isinstance(left - left, int)
    assert hash(left + right - right) == hash(left)
    if isinstance(left, Poly):
        assert any(monomial for monomial, _ in left.terms)


@given(coords, st.one_of(small, st.sampled_from([H, W, 2 * H, H * W])), sizes)
def test_divide_is_exact_or_none(coord: Coord, divisor: Coord, values: dict[str, int]) -> None:
    quotient = divide(coord, divisor)
    if quotient is not None:
        assert at(quotient, values) * at(divisor, values) == at(coord, values)
    if divisor != 0 and coord != 0:
        assert divide(coord * divisor, divisor) == coord


@given(coords, st.one_of(st.integers(1, 6), st.sampled_from([H, W, H + W])), sizes)
def test_floor_divide(coord: Coord, divisor: Coord, values: dict[str, int]) -> None:
    assert at(floor_divide(coord, divisor), values) == at(coord, values) // at(divisor, values)


@given(coords, st.integers(2, 5))
def test_parse_reads_what_str_writes(coord: Coord, divisor: int) -> None:
    assert parse(str(coord)) == coord
    quotient = floor_divide(coord, divisor)
    assert parse(str(quotient)) == quotient
    assert parse(str(quotient + coord)) == quotient + coord


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", 7),
        ("s0", dimension("s0")),
        ("2*H - 1", 2 * H - 1),
        ("H*W", W * H),
        ("-H + 3", 3 - H),
        ("(2*H + 4)//2", H + 2),
        ("((H - 7)//7) + 1", floor_divide(H - 7, 7) + 1),
        ("batch size", dimension("batch size")),
        ("Max(1, s0)", dimension("Max(1, s0)")),
        ("s0 % 2", dimension("s0 % 2")),
        ("", dimension("")),
    ],
)
def test_parse(text: str, expected: Coord) -> None:
    assert parse(text) == expected


def test_names() -> None:
    assert names(2 * H * W - 1) == {"H", "W"}
    assert names(3) == set()


@given(coords, coords, st.data())
def test_decisions_hold_at_every_size(left: Coord, right: Coord, data: st.DataObject) -> None:
    ranges: dict[str, Interval] = {}
    for name in ("H", "W"):
        low = data.draw(st.integers(0, 5))
        ranges[name] = (low, low + data.draw(st.integers(0, 4)))
    values = {name: data.draw(st.integers(low, high)) for name, (low, high) in ranges.items() if high is not None}
    bounds = Bounds(ranges)
    first, second = at(left, values), at(right, values)
    assert bounds.at_most(left, right) in (None, first <= second)
    assert bounds.equal(left, right) in (None, first == second)
    low, high = bounds.interval(left)
    assert low is None or low <= first
    assert high is None or first <= high
    try:
        assert at(bounds.smaller(left, right), values) == min(first, second)
        assert at(bounds.larger(left, right), values) == max(first, second)
    except UndecidedError:
        assert bounds.at_most(left, right) is None


def test_a_name_without_range_is_at_least_one() -> None:
    bounds = Bounds()
    assert bounds.at_most(1, H) is True
    assert bounds.at_most(0, H - 1) is True
    assert bounds.at_most(H, 0) is False
    assert bounds.at_most(2, H) is None
    assert bounds.interval(H * W) == (1, None)


def test_a_quotient_is_bounded_by_what_it_divides() -> None:
    bounds = Bounds({"H": (4, 9)})
    assert bounds.interval(floor_divide(H, 2)) == (2, 4)
    assert bounds.interval(floor_divide(H, W)) == (0, None)
    assert Bounds().interval(floor_divide(H, 2))[0] == 0


def test_only_decisions_that_rest_on_a_range_are_guards() -> None:
    bounds = Bounds({"H": (4, 9), "W": (5, 5)})
    bounds.at_most(3, 4)
    bounds.at_most(H - 1, H)
    bounds.equal(H, H)
    assert bounds.guards == ()
    assert bounds.at_most(4, H) is True
    assert bounds.at_most(H, 3) is False
    assert bounds.at_most(5, H) is None
    assert bounds.equal(W, 5) is True
    assert bounds.equal(H, 1) is False
    assert bounds.guards == ("4 <= H", "H > 3", "W == 5", "H != 1")


def test_sort() -> None:
    bounds = Bounds({"H": (4, None)})
    assert bounds.sort([H, 3, H - 1, 0, 3]) == [0, 3, H - 1, H]
    with pytest.raises(UndecidedError, match="H"):
        bounds.sort([H, 6])


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        (2, W, r"whether 2 <= W depends on W; declare a range of 2 or more"),
        (W, 7, r"whether W <= 7 depends on W; declare a range of 8 or more"),
        (5, H + W, r"whether 5 <= H \+ W depends on H, W; declare ranges that decide it"),
        (9, 2 * H - 1, r"depends on H; declare a range of 5 or more"),
        (2, floor_divide(W + 1, 2), r"on W; declare a range of 3 or more, or that it is a multiple, W=MIN..MAX/2"),
        (floor_divide(floor_divide(W - 1, 2) - 1, 3), 2, r"on W; declare a range of 21 or more, or that it is"),
        (2, floor_divide(W + H, 2), r"depends on \(H \+ W\)//\(2\); declare ranges that decide it"),
    ],
)
def test_the_undecided_name_what_would_decide(left: Coord, right: Coord, message: str) -> None:
    with pytest.raises(UndecidedError, match=message) as caught:
        Bounds().require_at_most(left, right)
    least = re.search(r"on W; declare a range of (\d+) or more", str(caught.value))
    if least is not None:
        Bounds({"W": (int(least[1]), None)}).require_at_most(left, right)
        with pytest.raises(UndecidedError):
            Bounds({"W": (int(least[1]) - 1, None)}).require_at_most(left, right)
