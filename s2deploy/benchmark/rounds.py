"""Interleaved rounds: every round, every candidate computes once, alone, in an order that is shuffled anew.

What the machine does meanwhile - another program, a warmer processor - then hits all candidates alike, and the ratio
of two medians of one run says more than any two numbers of two runs. A turn during which a hypervisor ran another
machine is taken once more: it tells nothing of the candidate, and hits long calls more than short ones. With patience,
the measurement pauses until the hypervisor is done.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

_TURN_MS = 20.0
_MOST_CALLS = 25
_COLD_MS = 100.0
_TRIED_CALLS = 3
_MOST_TRIES = 5
_LOST = 0.02
_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 8.0
LEAST_ROUNDS = 5


@dataclass(frozen=True)
class Turn:
    """What a candidate did when it was its turn.

    Attributes:
        ms: The time of each measured call.
        device_ms: The time of the GPU's work in each of them; empty without a GPU.
        cpu_ms: The time that processors spent on each of them, all threads together; empty where it is not known.
    """

    ms: tuple[float, ...]
    device_ms: tuple[float, ...] = ()
    cpu_ms: tuple[float, ...] = ()


class Candidate(Protocol):
    """What can be measured."""

    def turn(self, calls: int, warm: int) -> Turn:
        """Runs some calls that are not measured, then the measured ones, and returns when nothing runs any more."""


@dataclass
class Samples:
    """Everything measured of one candidate.

    Attributes:
        turns: A turn for each round.
        repeated: How many turns were taken once more.
        disturbed: How many of `turns` a hypervisor took more than 2% of although they were.
    """

    turns: list[Turn] = field(default_factory=list)
    repeated: int = 0
    disturbed: int = 0

    @property
    def rounds(self) -> list[tuple[float, ...]]:
        """The times of the calls, round by round."""
        return [turn.ms for turn in self.turns]

    @property
    def cpu_rounds(self) -> list[tuple[float, ...]]:
        """The processor times of the calls, round by round."""
        return [turn.cpu_ms for turn in self.turns]

    @property
    def ms(self) -> list[float]:
        """The times of all calls."""
        return [value for turn in self.turns for value in turn.ms]

    @property
    def device_ms(self) -> list[float]:
        """The times of the GPU's work in all calls."""
        return [value for turn in self.turns for value in turn.device_ms]


def interleave(
    candidates: Sequence[Candidate],
    *,
    rounds: int | None,
    seconds: float,
    seed: int = 0,
    patience: float = 0.0,
    on_round: Callable[[int, int], None] = lambda done, total: None,
    clock: Callable[[], float] = time.perf_counter,
    pause: Callable[[float], None] = time.sleep,
    stolen: Callable[[], float] = lambda: 0.0,
) -> list[Samples]:
    """Measures candidates that are warm already.

    A turn is as many calls as take about 20 ms. Where calls are short, one that is not measured goes before them: the
    candidate before has left the caches to itself.

    Args:
        candidates: What to measure.
        rounds: How many; None means as many as fit into `seconds`, but at least five.
        seconds: How long, unless `rounds` says how many.
        seed: Of the order within the rounds.
        patience: For how many seconds in all to pause until a hypervisor is done with other machines, where five tries
            of a turn were disturbed; not part of `seconds`.
        on_round: Told how many of how many rounds are done, the total as far as it can be told.
        clock: Seconds.
        pause: Waits for some seconds.
        stolen: How many seconds of processor time a hypervisor has taken so far.

    Returns:
        The samples, in the order of the candidates.
    """
    order = random.Random(seed)
    plans = [_plan(min(candidate.turn(_TRIED_CALLS, 1).ms)) for candidate in candidates]
    samples = [Samples() for _ in candidates]
    taking = _Taking(patience, clock, pause, stolen)
    started, done = clock(), 0
    while True:
        for index in order.sample(range(len(candidates)), len(candidates)):
            taking.take(candidates[index], plans[index], samples[index])
        done += 1
        passed = clock() - started - taking.waited
        total = rounds or max(LEAST_ROUNDS, done, round(seconds / (passed / done)) if passed else done)
        on_round(done, total)
        if done >= (rounds or LEAST_ROUNDS) and (rounds is not None or passed >= seconds):
            return samples


class _Taking:
    """Takes turns, as often as it takes for one that is not disturbed.

    Attributes:
        waited: For how many seconds it has paused.
    """

    def __init__(
        self, patience: float, clock: Callable[[], float], pause: Callable[[float], None], stolen: Callable[[], float]
    ) -> None:
        self._patience, self._clock, self._pause, self._stolen = patience, clock, pause, stolen
        self.waited = 0.0

    def take(self, candidate: Candidate, plan: tuple[int, int], samples: Samples) -> None:
        """Adds the first turn that at most 2% was taken from, or else the one of several that the least was."""
        best: Turn | None = None
        least, tries, pause = 0.0, 0, _PAUSE_SECONDS
        while best is None or least > _LOST:
            if tries >= _MOST_TRIES:
                if self.waited + pause > self._patience:
                    break
                self._pause(pause)
                self.waited += pause
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            started, before = self._clock(), self._stolen()
            turn = candidate.turn(*plan)
            lost, passed = self._stolen() - before, self._clock() - started
            share = lost / passed if lost > 0 and passed > 0 else float(lost > 0)
            if best is None or share < least:
                best, least = turn, share
            tries += 1
        assert best is not None
        samples.turns.append(best)
        samples.repeated += tries - 1
        samples.disturbed += least > _LOST


def _plan(call_ms: float) -> tuple[int, int]:
    """Returns how many calls a turn measures, and how many go before them."""
    calls = max(1, min(_MOST_CALLS, round(_TURN_MS / max(call_ms, 1e-3))))
    return calls, int(call_ms < _COLD_MS)
