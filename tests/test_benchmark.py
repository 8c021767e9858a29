"""Rounds, statistics, what the machine did meanwhile and what makes numbers shaky: no model runs here."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from s2deploy.benchmark import (
    Conditions,
    Measurement,
    Ratio,
    Samples,
    Turn,
    Watch,
    doubts,
    interleave,
    percentile,
    ratio,
)

QUIET = Conditions("a processor", 2, 0.0, 0.0, 0.0, 0)


class Steady:
    """A candidate that takes a known time on a clock of our own."""

    def __init__(self, ms: float, log: list[tuple[float, int, int]] | None = None) -> None:
        self.ms, self.log = ms, [] if log is None else log

    def turn(self, calls: int, warm: int) -> Turn:
        self.log.append((self.ms, calls, warm))
        return Turn((self.ms,) * calls)


def ticking(step: float) -> Callable[[], float]:
    now = [0.0]

    def clock() -> float:
        now[0] += step
        return now[0]

    return clock


def test_every_round_runs_every_candidate_once_in_an_order_that_changes() -> None:
    log: list[tuple[float, int, int]] = []
    samples = interleave([Steady(1.0, log), Steady(2.0, log), Steady(3.0, log)], rounds=20, seconds=0)
    rounds = [[ms for ms, _, _ in log[3 + 3 * number : 6 + 3 * number]] for number in range(20)]
    assert all(sorted(order) == [1.0, 2.0, 3.0] for order in rounds)
    assert len({tuple(order) for order in rounds}) > 3
    assert [len(entry.turns) for entry in samples] == [20, 20, 20]
    again: list[tuple[float, int, int]] = []
    interleave([Steady(1.0, again), Steady(2.0, again), Steady(3.0, again)], rounds=20, seconds=0)
    assert again == log


@pytest.mark.parametrize(("ms", "calls", "warm"), [(0.01, 25, 1), (1.0, 20, 1), (30.0, 1, 1), (400.0, 1, 0)])
def test_short_calls_are_made_several_times_a_turn_and_long_ones_need_no_warming(
    ms: float, calls: int, warm: int
) -> None:
    candidate = Steady(ms)
    interleave([candidate], rounds=1, seconds=0)
    assert candidate.log[1:] == [(ms, calls, warm)]


@pytest.mark.parametrize(("step", "rounds"), [(0.167, 20), (100.0, 5)])
def test_seconds_decide_the_number_of_rounds_but_five_are_the_least(step: float, rounds: int) -> None:
    told: list[tuple[int, int]] = []
    samples = interleave(
        [Steady(50.0)],
        rounds=None,
        seconds=10.0,
        clock=ticking(step),
        on_round=lambda done, total: told.append((done, total)),
    )
    assert len(samples[0].turns) == rounds
    assert told[-1] == (rounds, rounds)


class Disturbed:
    """A candidate whose turns take the longer the more a hypervisor takes of them."""

    def __init__(self, losses: list[int]) -> None:
        self.losses, self.lost = losses, 0

    def turn(self, calls: int, warm: int) -> Turn:
        loss = self.losses.pop(0)
        self.lost += loss
        return Turn((30.0 + loss,) * calls)


@pytest.mark.parametrize(
    ("losses", "kept", "repeated", "disturbed"),
    [
        ([0, 0, 0], [30.0, 30.0], 0, 0),
        ([0, 4, 2, 0, 0], [30.0, 30.0], 2, 0),
        ([0, 9, 8, 7, 5, 6, 0], [35.0, 30.0], 4, 1),
    ],
)
def test_a_turn_that_a_hypervisor_disturbs_is_taken_once_more(
    losses: list[int], kept: list[float], repeated: int, disturbed: int
) -> None:
    candidate = Disturbed(losses)
    (found,) = interleave([candidate], rounds=2, seconds=0, clock=ticking(1.0), stolen=lambda: candidate.lost)
    assert (found.ms, found.repeated, found.disturbed) == (kept, repeated, disturbed)
    assert not losses


@pytest.mark.parametrize(
    ("losses", "patience", "paused", "disturbed"),
    [
        ([0, 5, 5, 5, 5, 5, 5, 5, 0], 100.0, [0.25, 0.5, 1.0], 0),
        ([0, 5, 5, 5, 5, 5, 5, 5], 1.0, [0.25, 0.5], 1),
        ([0, 5, 5, 5, 5, 0], 100.0, [], 0),
        ([0, *[5] * 12, 0], 100.0, [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0], 0),
    ],
)
def test_patience_waits_for_a_turn_that_nothing_is_taken_from(
    losses: list[int], patience: float, paused: list[float], disturbed: int
) -> None:
    candidate, pauses = Disturbed(losses), []
    (found,) = interleave(
        [candidate],
        rounds=1,
        seconds=0,
        patience=patience,
        clock=ticking(1.0),
        pause=pauses.append,
        stolen=lambda: candidate.lost,
    )
    assert (pauses, found.disturbed) == (paused, disturbed)
    assert not losses


def test_a_tick_of_a_long_turn_is_no_disturbance() -> None:
    candidate = Disturbed([0, 1])
    (found,) = interleave([candidate], rounds=1, seconds=0, clock=ticking(50.0), stolen=lambda: candidate.lost)
    assert (found.ms, found.repeated, found.disturbed) == ([31.0], 0, 0)


def test_what_a_hypervisor_takes_is_read_from_the_system(tmp_path: Path) -> None:
    assert Watch([], tmp_path).stolen() == 0
    second = os.sysconf("SC_CLK_TCK")
    watch = Watch([], machine(tmp_path, busy=1, idle=1, stolen=10 * second, ours=0, throttled=0))
    assert watch.stolen() == 10
    machine(tmp_path, busy=1, idle=1, stolen=17 * second, ours=0, throttled=0)
    assert watch.stolen() == 17


def test_percentiles_are_interpolated() -> None:
    assert percentile([3.0, 1.0, 2.0, 4.0], 0.5) == 2.5
    assert percentile([7.0], 0.99) == 7.0
    assert percentile(list(map(float, range(101))), 0.9) == 90.0


def test_a_ratio_of_medians_ignores_what_slows_both_sides_and_its_interval_shows_what_slows_one() -> None:
    slow = [1.0] * 10 + [5.0] * 10
    both = ratio([(2 * factor,) for factor in slow], [(factor,) for factor in slow])
    assert (both.value, both.low, both.high, both.spread) == (2.0, 2.0, 2.0, 0.0)
    one = ratio([(2.0,)] * 18 + [(8.0,)] * 2, [(1.0,)] * 20)
    assert (one.value, one.low, one.high) == (2.0, 2.0, 8.0)
    single = ratio([(3.0, 5.0)], [(2.0,)])
    assert (single.value, single.low, single.high) == (2.0, 2.0, 2.0)


def machine(root: Path, *, busy: int, idle: int, stolen: int, ours: int, throttled: int) -> Path:
    own = root / "proc" / str(os.getpid())
    cpu = root / "sys/devices/system/cpu/cpu0/thermal_throttle"
    for folder in (own, cpu, root / "sys/fs/cgroup"):
        folder.mkdir(parents=True, exist_ok=True)
    (root / "proc/stat").write_text(f"cpu  {busy} 0 0 {idle} 0 0 0 {stolen} 0 0\ncpu0 1 2 3\n")
    (root / "proc/cpuinfo").write_text("processor: 0\nmodel name\t: Fast (R) Processor\n")
    (own / "stat").write_text(f"1 (a ) name) S {' '.join(['0'] * 10)} {ours} 0 0 0 0 0\n")
    (cpu / "core_throttle_count").write_text(f"{throttled}\n")
    (root / "sys/fs/cgroup/cpu.stat").write_text(f"usage_usec 5\nnr_throttled {throttled}\n")
    return root


def test_conditions_tell_other_programs_from_the_measured_ones(tmp_path: Path) -> None:
    watch = Watch([], machine(tmp_path, busy=1000, idle=1000, stolen=10, ours=100, throttled=3))
    machine(tmp_path, busy=1600, idle=1350, stolen=60, ours=600, throttled=5)
    found = watch.conditions()
    assert found.processor == "Fast (R) Processor"
    assert found.others_cores == pytest.approx(0.1 * (os.cpu_count() or 1))
    assert found.stolen == pytest.approx(0.05)
    assert found.throttled == 4


def test_a_system_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    found = Watch([1], tmp_path).conditions()
    assert (found.others_cores, found.stolen, found.throttled) == (None, None, None)
    assert found.processor


def measurement(label: str = "a", **fields: object) -> Measurement:
    known = Measurement(
        label=label,
        artifact=f"{label}.onnx",
        runner="onnxruntime",
        backend="onnxruntime",
        calls=100,
        median_ms=1.0,
        p90_ms=1.1,
        p99_ms=1.2,
        least_ms=0.9,
        device_ms=None,
        ratio=Ratio(1.0, 1.0, 1.0),
        ready_seconds=0.1,
        peak_bytes=1,
        before_bytes=0,
        agreement=None,
    )
    return replace(known, **fields)  # type: ignore[arg-type]


def test_many_doubtful_candidates_are_counted() -> None:
    entries = [measurement(label, p90_ms=1.6) for label in "abcde"]
    samples = {entry.label: Samples([Turn((1.0,))] * 9) for entry in entries}
    assert "tenth call of a, b, c and 2 more takes" in doubts(entries, samples, QUIET, 1)[0]


def doubted(
    entry: Measurement, rounds: list[Turn] | None = None, threads: int = 1, disturbed: int = 0, **conditions: object
) -> str:
    samples = {entry.label: Samples(rounds or [Turn((1.0,))] * 9, disturbed=disturbed)}
    return "\n".join(doubts([entry], samples, replace(QUIET, **conditions), threads))  # type: ignore[arg-type]


def test_nothing_is_doubted_on_a_quiet_machine() -> None:
    assert doubted(measurement()) == ""
    assert doubted(measurement(), others_cores=None, stolen=None, throttled=None) == ""


def test_a_hypervisor_that_disturbs_no_turn_makes_nothing_shaky() -> None:
    assert doubted(measurement(), stolen=0.3, disturbed=0) == ""
    assert doubted(measurement(), stolen=0.01, disturbed=9) == ""


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("ratio of a varies", doubted(measurement(ratio=Ratio(2.0, 1.8, 2.2)))),
        ("every tenth call of a", doubted(measurement(p90_ms=1.6))),
        ("33% slower at the end", doubted(measurement(), [*[Turn((0.75,))] * 3, *[Turn((1.0,))] * 6])),
        ("25% faster at the end", doubted(measurement(), [*[Turn((1.0,))] * 6, *[Turn((0.75,))] * 3])),
        ("kept 0.4 cores busy", doubted(measurement(), others_cores=0.4)),
        ("gave 5% of the time to other machines, and 33%", doubted(measurement(), stolen=0.05, disturbed=3)),
        ("throttled 3 times", doubted(measurement(), throttled=3)),
        ("4 threads share 2 cores", doubted(measurement(), threads=4)),
    ],
)
def test_what_makes_numbers_shaky_is_said(words: str, found: str) -> None:
    assert words in found
    assert found.count("\n") == 0
