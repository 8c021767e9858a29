"""Compares two ways to run the same model, output by output, over several feeds."""

from s2deploy.accuracy.comparison import Comparison, FeedComparison, OutputComparison
from s2deploy.accuracy.judge import judge_output
from s2deploy.accuracy.run import LazyFeed, Side, compare, lazy_feeds

__all__ = [
    "Comparison",
    "FeedComparison",
    "LazyFeed",
    "OutputComparison",
    "Side",
    "compare",
    "judge_output",
    "lazy_feeds",
]
