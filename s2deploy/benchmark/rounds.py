"""Interleaved rounds: every round, every candidate computes once, alone, in an order that is shuffled anew.

What the machine does meanwhile - another program, a warmer processor - then hits all candidates alike, and the ratio
of two medians of one run says more than any two numbers of two runs.
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
LEAST_ROUNDS = 5


@dataclass(frozen=True)
class Turn:
    """What a candidate did when it was its turn.

    Attributes:
        ms: The time of each measured call.
        device_ms: The time of the GPU's work in each of them; empty without a GPU.
    """

    ms: tuple[float, ...]
    device_ms: tuple[float, ...] = ()


class Candidate(Protocol):
    """What can be measured."""

    def turn(self, calls: int, warm: int) -> Turn:
        """Runs some calls that are not measured, then the measured ones, and returns when nothing runs any more."""


@dataclass
class Samples:
    """Everything measured of one candidate, a turn for each round."""

    turns: list[Turn] = field(default_factory=list)

    @property
    def rounds(self) -> list[tuple[float, ...]]:
        """The times of the calls, round by round."""
        return [turn.ms for turn in self.turns]

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
    on_round: Callable[[int, int], None] = lambda done, total: None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Samples]:
    """Measures candidates that are warm already.

    A turn is as many calls as take about 20 ms. Where calls are short, one that is not measured goes before them: the
    candidate before has left the caches to itself.

    Args:
        candidates: What to measure.
        rounds: How many; None means as many as fit into `seconds`, but at least five.
        seconds: How long, unless `rounds` says how many.
        seed: Of the order within the rounds.
        on_round: Told how many of how many rounds are done, the total as far as it can be told.
        clock: Seconds.

    Returns:
        The samples, in the order of the candidates.
    """
    order = random.Random(seed)
    plans = [_plan(min(candidate.turn(_TRIED_CALLS, 1).ms)) for candidate in candidates]
    samples = [Samples() for _ in candidates]
    started, done = clock(), 0
    while True:
        for index in order.sample(range(len(candidates)), len(candidates)):
            samples[index].turns.append(candidates[index].turn(*plans[index]))
        done += 1
        passed = clock() - started
        total = rounds or max(LEAST_ROUNDS, done, round(seconds / (passed / done)) if passed else done)
        on_round(done, total)
        if done >= (rounds or LEAST_ROUNDS) and (rounds is not None or passed >= seconds):
            return samples


def _plan(call_ms: float) -> tuple[int, int]:
    """Returns how many calls a turn measures, and how many go before them."""
    calls = max(1, min(_MOST_CALLS, round(_TURN_MS / max(call_ms, 1e-3))))
    return calls, int(call_ms < _COLD_MS)
