"""Times several ways to run a model in turn, and says how far the numbers can be trusted."""

from s2deploy.benchmark.conditions import Conditions, Watch
from s2deploy.benchmark.doubts import doubts
from s2deploy.benchmark.measurement import Agreement, Failure, Measurement, Ratio
from s2deploy.benchmark.rounds import Candidate, Samples, Turn, interleave
from s2deploy.benchmark.statistics import percentile, ratio

__all__ = [
    "Agreement",
    "Candidate",
    "Conditions",
    "Failure",
    "Measurement",
    "Ratio",
    "Samples",
    "Turn",
    "Watch",
    "doubts",
    "interleave",
    "percentile",
    "ratio",
]
