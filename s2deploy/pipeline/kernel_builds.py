"""Builds a plan with kernels and one with the operators' functions written out, and keeps the faster one.

Each runs in a process of its own, one at a time and in turns, at the typical sizes of the first profile. What counts is
the GPU's time, without the copies of inputs and outputs. Where no difference shows beyond the spread of the
measurement, the plan without a library beside it is kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from s2deploy import engine
from s2deploy.artifacts import check_output, scratch, staged
from s2deploy.benchmark import ratio
from s2deploy.benchmark.measurement import Ratio
from s2deploy.benchmark.rounds import Samples, interleave
from s2deploy.benchmark.statistics import percentile
from s2deploy.engine import BuildResult, Phase
from s2deploy.engine.builder import absent_beside
from s2deploy.errors import BuildError, S2DeployError
from s2deploy.feeds import Feed
from s2deploy.options import BuildOptions
from s2deploy.pipeline.bench_feeds import feed_for, random_inputs
from s2deploy.pipeline.bench_process import CandidateProcess
from s2deploy.pipeline.bench_runners import PLAN, Way
from s2deploy.pipeline.kernels import Choice
from s2deploy.precision.cost import MOST_DIFFERENCE
from s2deploy.sidecar import Kernels, sidecar_path
from s2deploy.specs import Precision

_MOST_DIFFERENCE = {Precision.FP32: 0.02} | MOST_DIFFERENCE
"""How far the two may differ, as a share of an output's largest magnitude; float32 products may round to TF32."""
_WARM_SECONDS = 0.5
_SECONDS = 4.0


@dataclass(frozen=True)
class Timing:
    """The two plans, measured together.

    Attributes:
        kernels_ms: Median of the GPU's time with kernels.
        functions_ms: The same with functions.
        ratio: Of the first to the second.
        difference: The largest difference of their outputs, as a share of an output's largest magnitude.
    """

    kernels_ms: float
    functions_ms: float
    ratio: Ratio
    difference: float


def build(model: Path, output: Path, choice: Choice, on_phase: Callable[[Phase], None]) -> BuildResult:
    """Builds what was chosen; the sidecar tells what became of the operators, and why.

    Raises:
        S2DeployError: As `engine.build`.
    """
    options = choice.options
    if options.kernels is None:
        record = Kernels(False, choice.operators, choice.reason) if choice.operators else None
        return engine.build(model, output, options, kernels=record, on_phase=on_phase)
    if choice.insisted:
        record = Kernels(True, choice.operators, f"asked for, nothing was compared; kernels of {options.kernels.name}")
        return engine.build(model, output, options, kernels=record, on_phase=on_phase)
    return _build_both(model, output, choice, on_phase)


def _build_both(model: Path, output: Path, choice: Choice, on_phase: Callable[[Phase], None]) -> BuildResult:
    options, operators = choice.options, choice.operators
    check_output(output, [model, *options.libraries])
    absent_beside(output, options.libraries)
    with scratch(output) as folder:
        with_functions, with_kernels, place = folder / "functions", folder / "kernels", folder / "timing"
        for each in (with_functions, with_kernels, place):
            each.mkdir()
        plain = engine.build(model, with_functions / output.name, replace(options, kernels=None), on_phase=on_phase)
        try:
            fused = engine.build(model, with_kernels / output.name, options, on_phase=on_phase)
        except BuildError as error:
            record = Kernels(False, operators, f"the plan with kernels could not be built: {error.message}")
            return _published(plain, output, options, record)
        try:
            record = judged(measured(fused.plan, plain.plan, place), operators, options.typing.precision)
        except S2DeployError as error:
            record = Kernels(False, operators, f"the plan with kernels could not be compared: {error.message}")
        return _published(fused if record.used else plain, output, options, record)


def judged(timing: Timing, operators: dict[str, int], precision: Precision) -> Kernels:
    """Returns which of the two plans is kept, and why."""
    times = f"{timing.kernels_ms:.3f} ms with the kernels, {timing.functions_ms:.3f} ms with the functions written out"
    if not timing.difference <= _MOST_DIFFERENCE[precision]:
        reason = f"the outputs with the kernels differ by {timing.difference:.2g} of the largest value; {times}"
        used = False
    elif timing.ratio.high < 1:
        used, reason = True, f"the kernels are {1 / timing.ratio.value:.2f} times as fast: {times}"
    elif timing.ratio.low > 1:
        used, reason = False, f"the kernels are slower by a factor of {timing.ratio.value:.2f}: {times}"
    else:
        used, reason = False, f"no difference beyond what the measurement varies by: {times}"
    return Kernels(used, operators, reason, round(timing.kernels_ms, 6), round(timing.functions_ms, 6))


def measured(kernels: Path, functions: Path, folder: Path) -> Timing:
    """Measures both plans on random inputs.

    Args:
        kernels: The plan with kernels, its library beside it.
        functions: The plan without.
        folder: An empty folder for what the processes exchange.

    Raises:
        S2DeployError: One of them cannot be run.
    """
    with ExitStack() as stack:
        candidates = []
        for label, plan in (("kernels", kernels), ("functions", functions)):
            place = folder / label
            place.mkdir()
            way = Way(label, str(plan), PLAN, threads=1, device="cuda")
            candidates.append(stack.enter_context(CandidateProcess(way, place)))
            candidates[-1].open()
        _, feed = random_inputs((), candidates, (), 0)
        firsts = [candidate.first(feed_for(candidate, feed)) for candidate in candidates]
        for candidate in candidates:
            candidate.warm(_WARM_SECONDS)
        samples = interleave(candidates, rounds=None, seconds=_SECONDS)
    fused, plain = (_rounds(one) for one in samples)
    medians = [percentile([time for turn in rounds for time in turn], 0.5) for rounds in (fused, plain)]
    return Timing(medians[0], medians[1], ratio(fused, plain), _difference(firsts[1].outputs, firsts[0].outputs))


def _rounds(samples: Samples) -> list[tuple[float, ...]]:
    return [turn.device_ms or turn.ms for turn in samples.turns]


def _difference(wanted: Feed, given: Feed) -> float:
    """Returns the largest difference as a share of the largest value; infinite where only one of them is finite."""
    worst = 0.0
    for name, array in wanted.items():
        exact, other = array.astype(np.float64), given[name].astype(np.float64)
        finite = np.isfinite(exact)
        if exact.shape != other.shape or not np.array_equal(finite, np.isfinite(other)):
            return float("inf")
        largest = float(np.abs(exact[finite]).max(initial=0.0))
        off = float(np.abs(exact[finite] - other[finite]).max(initial=0.0))
        worst = max(worst, off / largest if largest else off)
    return worst


def _published(result: BuildResult, output: Path, options: BuildOptions, kernels: Kernels) -> BuildResult:
    """Moves a plan to its place, with its sidecar and the libraries that it needs and that are not there."""
    needed = options.libraries if kernels.used else options.plugins
    sidecar = replace(result.sidecar, kernels=kernels)
    with staged(output) as draft:
        for library in absent_beside(output, needed):
            shutil.copyfile(library, draft.with_name(library.name))
        sidecar_path(draft).write_text(sidecar.to_json(), encoding="utf-8")
        shutil.move(result.plan, draft)
    return replace(result, plan=output, sidecar=sidecar, sidecar_path=sidecar_path(output))
