"""`bench`: several artifacts on the same inputs, in turn, each in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from s2deploy.artifacts import staged, temporary
from s2deploy.benchmark import (
    Agreement,
    Conditions,
    Failure,
    Measurement,
    Samples,
    Watch,
    doubts,
    interleave,
    percentile,
    ratio,
)
from s2deploy.environment import usable_cores
from s2deploy.errors import S2DeployError
from s2deploy.feeds import Feed
from s2deploy.pipeline.arguments import AnyPath, specs_of, tolerance_of
from s2deploy.pipeline.bench_agreement import compare
from s2deploy.pipeline.bench_feeds import feed_for, random_inputs
from s2deploy.pipeline.bench_process import CandidateProcess, First, Reference, reference_of
from s2deploy.pipeline.bench_runners import EAGER, Way
from s2deploy.pipeline.bench_ways import baseline_of, check_kwargs, check_numbers, check_plot, ways_of
from s2deploy.report import Reporter
from s2deploy.results import BenchResult
from s2deploy.specs import TensorSpec

_WARM_SECONDS = 0.5
_SECONDS_EACH = 5.0


def bench(
    artifacts: Sequence[AnyPath] | Mapping[str, AnyPath],
    *,
    inputs: Sequence[str | TensorSpec] = (),
    value_ranges: Sequence[str] = (),
    baseline: str | None = None,
    compiled: bool | Collection[str] = False,
    threads: int | None = None,
    device: str = "cpu",
    cuda_graphs: bool = False,
    rounds: int | None = None,
    seconds: float | None = None,
    patience: float = 0.0,
    seed: int = 0,
    kwargs: Mapping[str, Any] | None = None,
    weights: AnyPath | None = None,
    trust_pickle: bool = False,
    atol: float | None = None,
    rtol: float | None = None,
    plot: AnyPath | None = None,
    reporter: Reporter | None = None,
) -> BenchResult:
    """Measures how long artifacts take for a call.

    Every candidate is a process of its own, all of them are warm, and one computes at a time: in every round each
    once, in an order shuffled anew. The outputs of all are compared once. What one candidate cannot do is reported
    and the others are measured.

    Args:
        artifacts: ``.onnx`` files, plans, and PyTorch models as `export` takes them; with a mapping, by their labels.
        inputs: Sizes, as for `export`; the typical ones are run. What the first artifact declares unless given. Where
            input names differ between artifacts, their order counts.
        value_ranges: ``NAME=LO..HI`` for inputs that need special values.
        baseline: The label or artifact that ratios refer to; the first unless given.
        compiled: Whether PyTorch models also run through torch.compile; or the labels of those that do.
        threads: Threads per operator, of PyTorch and onnxruntime; as many as there are cores unless given.
        device: ``cpu``, ``cuda`` or ``cuda:N`` for PyTorch and onnxruntime; plans run on the GPU of that number.
        cuda_graphs: Whether a plan's kernels are launched as one CUDA graph.
        rounds: How many rounds; as many as fit into `seconds`, and at least five, unless given.
        seconds: How long to measure; five for each candidate unless given.
        patience: For how many seconds more to wait, in all, until a hypervisor leaves the machine alone.
        seed: Of the inputs and of the order within rounds.
        kwargs: Arguments of factories.
        weights: A state_dict for factories' modules.
        trust_pickle: Whether code inside files may run.
        atol: See `Tolerance`.
        rtol: See `Tolerance`.
        plot: An ``.svg`` to draw the medians into.
        reporter: Told about every stage.

    Raises:
        UsageError: The call is wrong.
        S2DeployError: The baseline, or a comparison's reference, could not be run.
    """
    reporter = reporter or Reporter()
    tolerance = tolerance_of(atol, rtol)
    specs = specs_of(inputs, value_ranges)
    threads = usable_cores() if threads is None else threads
    check_numbers(threads, rounds, seconds, patience, seed, device)
    check_kwargs(kwargs)
    ways = ways_of(
        artifacts,
        compiled=compiled,
        threads=threads,
        device=device,
        kwargs=None if kwargs is None else dict(kwargs),
        weights=None if weights is None else os.fspath(weights),
        trust_pickle=trust_pickle,
        cuda_graphs=cuda_graphs,
    )
    first_label = baseline_of(ways, baseline)
    target = None if plot is None else Path(plot)
    if target is not None:
        check_plot(target, ways)
    with temporary() as folder, ExitStack() as stack:
        failures: list[Failure] = []
        candidates = _opened(ways, folder, first_label, stack, failures, reporter)
        specs, feed = random_inputs(specs, candidates, value_ranges, seed)
        firsts, references = _run_once(candidates, feed, folder, first_label, failures, reporter)
        candidates = [candidate for candidate in candidates if candidate.way.label in firsts]
        agreements = compare(ways, firsts, references, first_label, tolerance)
        samples, conditions = _measure(candidates, rounds, seconds, patience, seed, reporter)
        measurements = _measurements(candidates, samples, firsts, agreements, first_label)
    result = BenchResult(
        measurements=measurements,
        failures=tuple(failures),
        baseline=first_label,
        inputs={name: (str(array.dtype), array.shape) for name, array in feed.items()},
        threads=threads,
        rounds=len(next(iter(samples.values())).turns),
        conditions=conditions,
        doubts=doubts(measurements, samples, conditions, threads),
        stages=tuple(reporter.stages),
        plot=target,
    )
    if target is not None:
        from s2deploy.plot import bench_chart

        with staged(target) as draft:
            draft.write_text(bench_chart(result), encoding="utf-8")
    return result


def _opened(
    ways: Sequence[Way],
    folder: Path,
    baseline: str,
    stack: ExitStack,
    failures: list[Failure],
    reporter: Reporter,
) -> list[CandidateProcess]:
    """Opens every candidate that can be opened."""
    candidates = []
    with reporter.stage("open", "opening the artifacts") as stage:
        for number, way in enumerate(ways):
            stage.now(way.label)
            place = folder / str(number)
            place.mkdir()
            candidate = stack.enter_context(CandidateProcess(way, place))
            try:
                candidate.open()
            except S2DeployError as error:
                _give_up(candidate, error, baseline, failures)
            else:
                candidates.append(candidate)
        stage.detail = f"{len(candidates)} candidate{'s' * (len(candidates) != 1)}"
        stage.notes += [f"{failure.label} failed: {failure.message}" for failure in failures]
    return candidates


def _run_once(
    candidates: Sequence[CandidateProcess],
    feed: Feed,
    folder: Path,
    baseline: str,
    failures: list[Failure],
    reporter: Reporter,
) -> tuple[dict[str, First], dict[str, Reference]]:
    """Makes the first call of every candidate that can make one, and runs PyTorch models as they are meant."""
    firsts: dict[str, First] = {}
    references: dict[str, Reference] = {}
    before = len(failures)
    with reporter.stage("first", "running each once") as stage:
        for number, candidate in enumerate(candidates):
            label = candidate.way.label
            stage.now(label)
            try:
                given = feed_for(candidate, feed)
                first = candidate.first(given)
                if candidate.way.runner == EAGER:
                    place = folder / f"reference-{number}"
                    place.mkdir()
                    references[label] = reference_of(candidate.way, given, place)
                firsts[label] = first
            except S2DeployError as error:
                _give_up(candidate, error, baseline, failures)
        shapes = (f"{name} {'x'.join(map(str, array.shape)) or 'scalar'}" for name, array in feed.items())
        stage.detail = f"random inputs: {', '.join(shapes) or 'none'}"
        for label, reference in references.items():
            count = reference.overlaps
            if count:
                stage.notes.append(
                    f"{label}: {count} overlapping in-place operation{'s' * (count != 1)}; what it "
                    "computes is undefined, the others are compared with clone semantics"
                )
        stage.notes += [f"{failure.label} failed: {failure.message}" for failure in failures[before:]]
    return firsts, references


def _give_up(candidate: CandidateProcess, error: S2DeployError, baseline: str, failures: list[Failure]) -> None:
    """Ends a candidate that failed; without the baseline there is nothing to say about the others."""
    candidate.close()
    label = candidate.way.label
    if label == baseline:
        raise type(error)(f"{label}, the baseline, cannot be measured: {error.message}", hint=error.hint) from error
    failures.append(Failure(label, error.message, error.hint))


def _measure(
    candidates: Sequence[CandidateProcess],
    rounds: int | None,
    seconds: float | None,
    patience: float,
    seed: int,
    reporter: Reporter,
) -> tuple[dict[str, Samples], Conditions]:
    with reporter.stage("measure", "measuring") as stage:
        for candidate in candidates:
            stage.now(f"warming up {candidate.way.label}")
            candidate.warm(_WARM_SECONDS)
        stage.now("in turn")
        watch = Watch(candidate.pid for candidate in candidates)
        samples = interleave(
            candidates,
            rounds=rounds,
            seconds=_SECONDS_EACH * len(candidates) if seconds is None else seconds,
            seed=seed,
            patience=patience,
            on_round=stage.count,
            stolen=watch.stolen,
        )
        conditions = watch.conditions()
        done = len(samples[0].turns)
        calls = min(len(entry.ms) for entry in samples)
        stage.detail = f"{done} rounds, at least {calls} calls each, {candidates[0].way.threads} threads"
        repeated = sum(entry.repeated for entry in samples)
        if repeated:
            stage.notes.append(
                f"{repeated} turns were taken once more because a hypervisor ran other machines meanwhile"
            )
    return {candidate.way.label: entry for candidate, entry in zip(candidates, samples, strict=True)}, conditions


def _measurements(
    candidates: Sequence[CandidateProcess],
    samples: Mapping[str, Samples],
    firsts: Mapping[str, First],
    agreements: Mapping[str, Agreement | None],
    baseline: str,
) -> tuple[Measurement, ...]:
    found = []
    for candidate in candidates:
        label = candidate.way.label
        own, other = samples[label], samples[baseline]
        is_timed = all(ms > 0 for turn in (*own.turns, *other.turns) for ms in turn.cpu_ms or (0.0,))
        peak, before = candidate.memory()
        found.append(
            Measurement(
                label=label,
                artifact=candidate.way.artifact,
                runner=candidate.way.runner,
                backend=candidate.backend,
                calls=len(own.ms),
                median_ms=percentile(own.ms, 0.5),
                p90_ms=percentile(own.ms, 0.9),
                p99_ms=percentile(own.ms, 0.99),
                least_ms=min(own.ms),
                device_ms=percentile(own.device_ms, 0.5) if own.device_ms else None,
                ratio=ratio(own.rounds, other.rounds),
                ready_seconds=firsts[label].seconds,
                peak_bytes=peak,
                before_bytes=before,
                agreement=agreements[label],
                cpu_ms=percentile([ms for turn in own.turns for ms in turn.cpu_ms], 0.5) if is_timed else None,
                cpu_ratio=ratio(own.cpu_rounds, other.cpu_rounds) if is_timed else None,
            )
        )
    return tuple(found)
