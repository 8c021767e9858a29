"""Whether the candidates of `bench` compute the same: a faster graph that is wrong is no win."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from s2deploy.accuracy import judge_output
from s2deploy.benchmark import Agreement
from s2deploy.feeds import Feed
from s2deploy.pipeline.bench_process import First
from s2deploy.pipeline.bench_runners import IN_TORCH, Way
from s2deploy.specs import Tolerance


def compare(
    ways: Sequence[Way], firsts: Mapping[str, First], baseline: str, tolerance: Tolerance
) -> dict[str, Agreement | None]:
    """Compares everybody's outputs with those of a PyTorch model under clone semantics, or else with the baseline's.

    Args:
        ways: The candidates.
        firsts: What each gave at its first call, by label.
        baseline: The baseline's label.
        tolerance: When an output passes.

    Returns:
        One agreement by label; None for the baseline where it is the reference.
    """
    reference = next((first.reference for first in firsts.values() if first.reference is not None), None)
    expected = firsts[baseline].outputs if reference is None else reference
    overlapping = {way.artifact for way in ways if way.label in firsts and firsts[way.label].overlaps}
    return {
        way.label: None
        if reference is None and way.label == baseline
        else _agreement(
            firsts[way.label].outputs,
            expected,
            tolerance,
            undefined=way.runner in IN_TORCH and way.artifact in overlapping,
        )
        for way in ways
        if way.label in firsts
    }


def _agreement(outputs: Feed, expected: Feed, tolerance: Tolerance, *, undefined: bool) -> Agreement:
    """Compares outputs in their order: their names differ between exporters."""
    if len(outputs) != len(expected):
        return Agreement(False, None, f"{len(outputs)} outputs instead of {len(expected)}", undefined)
    worst: float | None = 0.0
    for (name, found), wanted in zip(outputs.items(), expected.values(), strict=True):
        if found.dtype != wanted.dtype and found.dtype.kind in "fV" and wanted.dtype.kind in "fV":
            found = found.astype(wanted.dtype)
        judged = judge_output(name, wanted, found, tolerance)
        if judged.worst_absolute is None:
            return Agreement(judged.passed, None, judged.reason, undefined)
        worst = max(worst or 0.0, judged.worst_absolute / (judged.largest_reference or 1.0))
        if not judged.passed:
            return Agreement(False, worst, f"output {name!r}: {judged.reason}", undefined)
    return Agreement(True, worst, None, undefined)
