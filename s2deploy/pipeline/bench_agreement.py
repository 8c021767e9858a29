"""Whether the candidates of `bench` compute the same: a faster graph that is wrong is no win."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from s2deploy.accuracy import judge_output
from s2deploy.benchmark import Agreement
from s2deploy.feeds import Feed
from s2deploy.pipeline.bench_process import First, Reference
from s2deploy.pipeline.bench_runners import IN_TORCH, Way
from s2deploy.specs import Tolerance


def compare(
    ways: Sequence[Way],
    firsts: Mapping[str, First],
    references: Mapping[str, Reference],
    baseline: str,
    tolerance: Tolerance,
) -> dict[str, Agreement | None]:
    """Compares everybody's outputs with those of a PyTorch model under clone semantics, or else with the baseline's.

    Args:
        ways: The candidates.
        firsts: What each gave at its first call, by label.
        references: What PyTorch models give under clone semantics, by label.
        baseline: The baseline's label.
        tolerance: When an output passes.

    Returns:
        One agreement by label; None for the baseline where it is the reference.
    """
    reference = next(iter(references.values()), None)
    expected = firsts[baseline] if reference is None else First(reference.outputs, 0.0)
    overlapping = {way.artifact for way in ways if way.label in references and references[way.label].overlaps}
    return {
        way.label: None
        if reference is None and way.label == baseline
        else _agreement(
            firsts[way.label], expected, tolerance, undefined=way.runner in IN_TORCH and way.artifact in overlapping
        )
        for way in ways
        if way.label in firsts
    }


def _agreement(found: First, expected: First, tolerance: Tolerance, *, undefined: bool) -> Agreement:
    """Compares outputs in their order: their names differ between exporters."""
    outputs, wanted = found.outputs, expected.outputs
    if not (found.state and expected.state):  # new values of buffers are compared where both give them
        outputs, wanted = _without(outputs, found.state), _without(wanted, expected.state)
    if len(outputs) != len(wanted):
        return Agreement(False, None, f"{len(outputs)} outputs instead of {len(wanted)}", undefined)
    worst: float | None = 0.0
    for (name, array), exact in zip(outputs.items(), wanted.values(), strict=True):
        if array.dtype != exact.dtype and array.dtype.kind in "fV" and exact.dtype.kind in "fV":
            array = array.astype(exact.dtype)
        judged = judge_output(name, exact, array, tolerance)
        if judged.worst_absolute is None:
            return Agreement(judged.passed, None, judged.reason, undefined)
        worst = max(worst or 0.0, judged.worst_absolute / (judged.largest_reference or 1.0))
        if not judged.passed:
            return Agreement(False, worst, f"output {name!r}: {judged.reason}", undefined)
    return Agreement(True, worst, None, undefined)


def _without(outputs: Feed, state: Collection[str]) -> Feed:
    return {name: array for name, array in outputs.items() if name not in state}
