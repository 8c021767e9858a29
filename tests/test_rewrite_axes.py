"""Axes that are the same, and the cheapest way to divide a graph."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from s2deploy.rewrite.axes import Axes, AxisConflictError
from s2deploy.rewrite.cuts import SINK, SOURCE, Network


def test_a_merged_axis_stands_for_its_parts_on_both_sides() -> None:
    axes = Axes()
    height, width, rows, other, top, left = (axes.new() for _ in range(6))
    axes.relate([], [(rows, (height, width))])
    axes.relate([(rows, other)])
    axes.relate([], [(other, (top, left))])
    assert axes.atoms(other) == axes.atoms(rows)
    assert axes.atoms(top) == axes.atoms(height)
    assert axes.atoms(left) == axes.atoms(width)


def test_a_contradiction_changes_nothing() -> None:
    axes = Axes()
    whole, a, b, c, free = (axes.new() for _ in range(5))
    axes.relate([], [(whole, (a, b))])
    with pytest.raises(AxisConflictError, match="in two ways"):
        axes.relate([(free, a)], [(whole, (a, b, c))])
    assert axes.atoms(free) == (free,)
    with pytest.raises(AxisConflictError, match="part of itself"):
        axes.relate([(free, c), (whole, a)])
    assert axes.atoms(free) == (free,)
    assert axes.atoms(whole) == (a, b)


def test_a_contradiction_after_joining_sets_of_every_size_changes_nothing() -> None:
    axes = Axes()
    many, merged, a, b = [axes.new() for _ in range(9)], axes.new(), axes.new(), axes.new()
    axes.relate(list(itertools.pairwise(many)))
    axes.relate([], [(merged, (a, b))])
    with pytest.raises(AxisConflictError, match="part of itself"):
        axes.relate([(many[4], merged), (many[0], a)])
    assert axes.atoms(many[7]) == axes.atoms(many[0]) != (a, b)
    assert axes.atoms(merged) == (a, b)
    axes.relate([(merged, many[8])])
    assert {axes.atoms(axis) for axis in many} == {(a, b)}


@pytest.mark.parametrize("order", [1, -1])
def test_long_chains_of_the_same_axis_are_no_deep_ones(order: int) -> None:
    axes = Axes()
    chain = [axes.new() for _ in range(1000)]
    for first, second in list(itertools.pairwise(chain))[::order]:
        axes.relate([(first, second)])
        axes.relate([(second, first)])

    def depth(axis: int) -> int:
        return 0 if axes._same[axis] == axis else 1 + depth(axes._same[axis])

    assert max(map(depth, chain)) <= 10
    assert len(set(map(axes.atoms, chain))) == 1


@pytest.mark.parametrize("seed", range(20))
def test_a_cut_is_as_cheap_as_the_cheapest_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = Network()
    nodes = [SOURCE, SINK, *(network.node() for _ in range(6))]
    edges = []
    for start, end in itertools.permutations(nodes, 2):
        if end != SOURCE and start != SINK and rng.random() < 0.5:
            edges.append((start, end, float(rng.integers(1, 9))))
            network.edge(*edges[-1])

    def cost(sink_side: set[int]) -> float:
        return sum(price for start, end, price in edges if start not in sink_side and end in sink_side)

    found = network.sink_side()
    divisions = itertools.chain.from_iterable(itertools.combinations(nodes[2:], n) for n in range(7))
    assert cost(found) == min(cost({SINK, *chosen}) for chosen in divisions)
