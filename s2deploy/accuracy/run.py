"""Runs two sides over the same feeds through Polygraphy's Comparator, one feed at a time.

Feeds are made when they are needed and freed with the outputs after their comparison: at the largest sizes
of a dynamic model each of them can be gigabytes. Where both sides do not fit into memory together, the reference runs
first over all feeds; its outputs are then held wherever the caller puts them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from s2deploy.accuracy.comparison import Comparison, FeedComparison
from s2deploy.accuracy.judge import Arithmetic, judge_output
from s2deploy.errors import S2DeployError, ValidationError
from s2deploy.feeds import Array, Feed, interesting_sizes, random_feed
from s2deploy.specs import TensorSpec, Tolerance

Side = Callable[[Feed], Mapping[str, Array]]
"""Runs a model on a feed and returns its outputs by name; a runtime's session is one, so is a function over torch."""

_SIDE_HINT = "check that the model accepts these sizes and values; narrow --input or set --value-range or --data"

_SILENT = 60  # above Polygraphy's CRITICAL: its messages arrive as exceptions as well


@dataclass(frozen=True)
class LazyFeed:
    """A feed that is made when it is needed.

    Attributes:
        label: Names it in reports: ``min``, ``opt``, ``max``, ``odd`` or ``data``.
        sizes: The sizes of the named dimensions.
        load: Makes the arrays by input name.
    """

    label: str
    sizes: dict[str, int]
    load: Callable[[], Feed]


def lazy_feeds(specs: Sequence[TensorSpec], seed: int = 0) -> Iterator[LazyFeed]:
    """Yields random feeds at the min, opt, max and one odd size of every dimension, each size once.

    Args:
        specs: The model's inputs.
        seed: Feeds are the same for the same specs and seed.
    """
    for label, sizes in interesting_sizes(specs).items():
        yield LazyFeed(label, sizes, lambda sizes=sizes: random_feed(specs, sizes, seed))  # type: ignore[misc]


@dataclass(frozen=True)
class Recording:
    """What the reference gave on a feed."""

    feed: LazyFeed
    outputs: Mapping[str, Array]


def record(
    reference: Side,
    feeds: Iterable[LazyFeed],
    *,
    hold: Callable[[Feed], Feed] | None = None,
    on_feed: Callable[[str], None] | None = None,
) -> Iterator[Recording]:
    """Runs the reference, feed by feed as the recordings are asked for.

    Args:
        reference: The side that is right by definition.
        feeds: What it is fed, e.g. from `lazy_feeds`.
        hold: Puts the outputs of a feed where they can stay, e.g. on a disk.
        on_feed: Called with each feed's label before it runs.

    Raises:
        ValidationError: The side raised.
    """
    for feed in feeds:
        if on_feed is not None:
            on_feed(feed.label)
        yield Recording(feed, (hold or dict)(_run_side("reference", reference, _load(feed), feed.label)))


def compare(
    recordings: Iterable[Recording],
    candidate: Side,
    tolerance: Tolerance | None = None,
    *,
    arithmetic: Arithmetic = Arithmetic.OTHER,
    resolution: float = 0.0,
    on_feed: Callable[[str], None] | None = None,
) -> Comparison:
    """Compares a side with the reference over all feeds.

    Args:
        recordings: What the reference gave: `record`, and both sides run in turn, or a tuple of it, and the reference
            has run before.
        candidate: The side that is judged.
        tolerance: When an output passes; `Tolerance()` unless given.
        arithmetic: How the arithmetic of the two sides is related.
        resolution: Of the coarsest type they compute in, where that may be coarser than an output's.
        on_feed: Called with each feed's label before it runs.

    Raises:
        ValidationError: A side raised, or there is no feed or no output.
    """
    tolerance = tolerance or Tolerance()

    def judge(recording: Recording) -> FeedComparison:
        if on_feed is not None:
            on_feed(recording.feed.label)
        return _compare_feed(recording, candidate, tolerance, arithmetic, resolution)

    results = tuple(map(judge, recordings))  # a loop would keep the outputs before until there are others
    if not results:
        raise ValidationError("there is nothing to compare on: no feed was given", hint="give at least one feed")
    return Comparison(tolerance, results)


def _compare_feed(
    recording: Recording, candidate: Side, tolerance: Tolerance, arithmetic: Arithmetic, resolution: float
) -> FeedComparison:
    from polygraphy.comparator import Comparator
    from polygraphy.logger import G_LOGGER

    lazy = recording.feed
    feed = _load(lazy)
    shapes = {name: array.shape for name, array in feed.items()}
    runners = [
        _runner_class()("reference", lambda _: recording.outputs, feed, lazy.label),
        _runner_class()("candidate", candidate, feed, lazy.label),
    ]
    key = f"feed {lazy.label}"

    def judge(expected: Any, found: Any) -> dict[str, _Verdict]:
        left, right = dict(expected.items()), dict(found.items())
        names = dict.fromkeys([*left, *right])
        outputs = tuple(
            judge_output(name, left.get(name), right.get(name), tolerance, arithmetic=arithmetic, resolution=resolution)
            for name in names
        )
        # Not keyed by output: for keys that name one, Polygraphy computes quantiles of it whatever its log level,
        # which takes seconds and several times the memory of a large output.
        return {key: _Verdict(FeedComparison(lazy.label, lazy.sizes, shapes, outputs))}

    with G_LOGGER.verbosity(_SILENT):
        ran = Comparator.run(runners, data_loader=[feed])
        accuracy = Comparator.compare_accuracy(ran, compare_func=judge)
    verdict: _Verdict = accuracy[0]["reference", "candidate"][0][key]
    if not verdict.comparison.outputs:
        raise ValidationError("there is nothing to compare: neither side has an output")
    return verdict.comparison


@dataclass(frozen=True)
class _Verdict:
    """A comparison whose truth is whether it passed, as Polygraphy expects."""

    comparison: FeedComparison

    def __bool__(self) -> bool:
        return self.comparison.passed


@cache
def _runner_class() -> Any:
    """Returns the Polygraphy runner of a `Side`, made once: a class per feed is a cycle that keeps the feed alive.

    Polygraphy's own PyTorch runner returns a tuple and moves the module to CUDA, so it cannot be used.
    """
    from polygraphy.backend.base import BaseRunner
    from polygraphy.common import TensorMetadata

    class CallableRunner(BaseRunner):  # type: ignore[misc]
        def __init__(self, name: str, side: Side, feed: Feed, label: str) -> None:
            super().__init__(name=name)
            self.side, self.feed, self.label = side, feed, label

        def get_input_metadata_impl(self) -> Any:
            return TensorMetadata.from_feed_dict(self.feed)

        def infer_impl(self, feed_dict: Feed) -> Feed:
            start = time.perf_counter()
            outputs = _run_side(self.name, self.side, dict(feed_dict), self.label)
            self.inference_time = time.perf_counter() - start
            return outputs

    return CallableRunner


def _run_side(name: str, side: Side, feed: Feed, label: str) -> Feed:
    try:
        return {output: np.require(array, requirements="C") for output, array in side(feed).items()}
    except Exception as error:
        shapes = ", ".join(f"{key}: {'x'.join(map(str, array.shape))}" for key, array in feed.items())
        raise ValidationError(
            f"the {name} failed on the {label} feed ({shapes}): "
            + (error.message if isinstance(error, S2DeployError) else f"{type(error).__name__}: {error}"),
            hint=(error.hint if isinstance(error, S2DeployError) else None) or _SIDE_HINT,
        ) from error


def _load(lazy: LazyFeed) -> Feed:
    try:
        return {name: np.require(array, requirements="C") for name, array in lazy.load().items()}
    except MemoryError as error:
        raise ValidationError(
            f"the {lazy.label} feed does not fit into memory: {error}", hint="lower the largest sizes of --input"
        ) from error
