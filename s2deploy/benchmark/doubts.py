"""Why numbers should not be trusted, each with what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from s2deploy.benchmark.conditions import Conditions
from s2deploy.benchmark.measurement import Measurement
from s2deploy.benchmark.rounds import Samples
from s2deploy.benchmark.statistics import drift

_SPREAD = 0.15
_TAIL = 1.5
_OTHERS_CORES = 0.1
_STOLEN = 0.02
_MET = 0.1
_DRIFT = 0.1
_MOST_LABELS = 3


def doubts(
    measurements: Sequence[Measurement], samples: Mapping[str, Samples], conditions: Conditions, threads: int
) -> tuple[str, ...]:
    """Returns what makes the numbers shaky, nothing where nothing does.

    Args:
        measurements: The candidates.
        samples: What was measured of each, by label.
        conditions: What the machine did meanwhile.
        threads: Threads that each candidate could use.
    """
    found: list[str] = []
    wide = [entry.label for entry in measurements if entry.ratio.spread > _SPREAD]
    if wide:
        found.append(
            f"the ratio of {_listed(wide)} varies by more than {_SPREAD:.0%} within the run: "
            "measure longer with --seconds"
        )
    tails = [entry.label for entry in measurements if entry.p90_ms > _TAIL * entry.median_ms]
    if tails:
        found.append(f"every tenth call of {_listed(tails)} takes more than {_TAIL} times the median")
    change = drift([samples[entry.label].rounds for entry in measurements])
    if abs(change - 1) > _DRIFT:
        direction = "slower" if change > 1 else "faster"
        found.append(
            f"the machine was {abs(change - 1):.0%} {direction} at the end than at the start: let it settle, or check "
            "for throttling, and measure again"
        )
    turns = sum(len(own.turns) for own in samples.values())
    disturbed = sum(own.disturbed for own in samples.values())
    if conditions.stolen is not None and conditions.stolen > _STOLEN and disturbed > _MET * turns:
        found.append(
            f"the hypervisor gave {conditions.stolen:.0%} of the time to other machines, and {disturbed / turns:.0%} "
            "of the turns met it although they were repeated: use a quieter one, wait with --patience"
            + (", or compare processor times" if threads == 1 else ", or compare processor times of --threads 1")
        )
    return (*found, *_machine(conditions, threads))


def _listed(labels: Sequence[str]) -> str:
    more = len(labels) - _MOST_LABELS
    return ", ".join(labels[:_MOST_LABELS]) + (f" and {more} more" if more > 0 else "")


def _machine(conditions: Conditions, threads: int) -> list[str]:
    found = []
    if conditions.others_cores is not None and conditions.others_cores > _OTHERS_CORES:
        found.append(f"other programs kept {conditions.others_cores:.1f} cores busy meanwhile: close them")
    if conditions.throttled:
        found.append(
            f"the processor was throttled {conditions.throttled} times: cool it, or raise the container's quota"
        )
    if threads > conditions.cores:
        found.append(f"{threads} threads share {conditions.cores} cores: give --threads {conditions.cores}")
    return found
