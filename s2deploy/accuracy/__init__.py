"""Compares two ways to run the same model, output by output, over several feeds."""

from s2deploy.accuracy.comparison import Comparison, FeedComparison, OutputComparison
from s2deploy.accuracy.judge import Arithmetic, judge_output
from s2deploy.accuracy.run import LazyFeed, Recording, Side, compare, lazy_feeds, record

__all__ = [
    "Arithmetic",
    "Comparison",
    "FeedComparison",
    "LazyFeed",
    "OutputComparison",
    "Recording",
    "Side",
    "compare",
    "judge_output",
    "lazy_feeds",
    "record",
]
