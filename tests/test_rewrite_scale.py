"""Chains of assignments: the work and the boxes kept grow with the length, not with its square."""

from __future__ import annotations

import cProfile
import inspect
import pstats
import sys
from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from rewriting import check, op_types
from scatter_chains import nested, rows, shifts

from s2deploy.rewrite import rewrite
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.rules import RULES
from s2deploy.rewrite.tree import Cut, Node

CHAINS = [rows, shifts]


def calls(model: onnx.ModelProto) -> int:
    """Returns how many function calls a rewrite takes: work, whatever the machine."""
    graph = ir.from_proto(model)
    profile = cProfile.Profile()
    profile.enable()
    rewrite(graph)
    profile.disable()
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


def nodes_of(root: Node, seen: set[int]) -> int:
    """Returns the references a tree keeps, those already seen left out."""
    if id(root) in seen:
        return 0
    seen.add(id(root))
    if not isinstance(root, Cut):
        return 1
    return len(root.children) + sum(nodes_of(child, seen) for child in root.children)


@pytest.mark.parametrize("chain", CHAINS)
def test_work_grows_with_the_length(chain: Callable[[int], onnx.ModelProto]) -> None:
    assert calls(chain(160)) <= 2.5 * calls(chain(80))


@pytest.mark.parametrize("chain", CHAINS)
def test_what_is_kept_grows_with_the_length(chain: Callable[[int], onnx.ModelProto]) -> None:
    def kept(count: int) -> int:
        facts = Interpretation(ir.from_proto(chain(count)).graph, {}, RULES)
        seen: set[int] = set()
        return sum(nodes_of(tiling.root, seen) for tiling in facts._tilings.values())

    assert kept(160) <= 2.5 * kept(80)


@pytest.mark.parametrize("chain", CHAINS)
def test_the_result_is_right(chain: Callable[[int], onnx.ModelProto]) -> None:
    result, report = check(chain(40))
    assert report.scatters_after == 0
    assert op_types(result)["Concat"] <= 1


def test_assignments_within_each_other() -> None:
    _, report = check(nested(12))
    assert report.scatters_after == 0


def test_assignments_too_deep_for_one_tree() -> None:
    limit = sys.getrecursionlimit()
    model = ir.from_proto(nested(50))
    try:
        sys.setrecursionlimit(len(inspect.stack()) + 150)
        report = rewrite(model)
    finally:
        sys.setrecursionlimit(limit)
    assert report.scatters_after <= 2
    assert all("too deeply" in refusal.reason for refusal in report.refusals)
    assert len(report.refusals) == report.scatters_after


def test_a_repeated_shift_ends_in_one_row() -> None:
    result, _ = check(shifts(30, size=8))
    assert op_types(result) == {"Slice": 1, "Expand": 1}
    assert not any(np.prod(tensor.dims) > 8 for tensor in result.graph.initializer)
