"""Percentiles, and ratios of medians with an interval that slow changes of the machine widen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from s2deploy.benchmark.measurement import Ratio

_MOST_BLOCKS = 10


def percentile(values: Sequence[float], share: float) -> float:
    """Returns a percentile with linear interpolation.

    Args:
        values: At least one.
        share: 0.5 for the median.
    """
    return float(np.quantile(np.asarray(values, dtype=np.float64), share))


def ratio(rounds: Sequence[Sequence[float]], baseline: Sequence[Sequence[float]]) -> Ratio:
    """Returns the ratio of the medians, with its extremes over up to ten blocks of consecutive rounds.

    Rounds lie next to each other in time on both sides, so that what slows the machine for a while slows both; the
    interval is what is left of it. Were blocks independent, the true ratio would lie outside of ten in 0.2 % of cases.

    Args:
        rounds: The times of the calls, round by round.
        baseline: Those of the baseline, for the same rounds.
    """
    blocks = np.array_split(np.arange(len(rounds)), min(_MOST_BLOCKS, len(rounds)))
    ratios = [_median_of(rounds, block) / _median_of(baseline, block) for block in blocks]
    everything = np.arange(len(rounds))
    return Ratio(_median_of(rounds, everything) / _median_of(baseline, everything), min(ratios), max(ratios))


def drift(all_rounds: Sequence[Sequence[Sequence[float]]]) -> float:
    """Returns how many times as long calls took in the last third of the rounds as in the first: the median over all.

    Args:
        all_rounds: The times of each candidate's calls, round by round.
    """
    third = max(1, len(all_rounds[0]) // 3)
    count = len(all_rounds[0])
    first, last = np.arange(third), np.arange(count - third, count)
    return float(np.median([_median_of(rounds, last) / _median_of(rounds, first) for rounds in all_rounds]))


def _median_of(rounds: Sequence[Sequence[float]], chosen: np.typing.NDArray[np.intp]) -> float:
    return float(np.median(np.concatenate([np.asarray(rounds[index]) for index in chosen])))
