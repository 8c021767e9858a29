"""The proof: a written file on onnxruntime against the original.

The original runs first, over all feeds, then the file: never both at once. A graph and its rewrite do the same
arithmetic, so where the original is an ONNX file both run as they are written, node by node, and must agree up to
rounding at most, or up to what another order of sums makes where a rewrite changed that; then both run once more as
users run them, rearranged by onnxruntime.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from s2deploy.accuracy import Arithmetic, Comparison, LazyFeed, Recording, Side, compare, lazy_feeds, record
from s2deploy.errors import S2DeployError
from s2deploy.feeds import Feed, check_feed
from s2deploy.report import Stage
from s2deploy.runtime import Worker, on_disk
from s2deploy.specs import TensorSpec, Tolerance

OPTIMIZED = " optimized"
"""Ends the label of the feed on which onnxruntime had rearranged both graphs."""


class Proof:
    """Compares files with the original they were made from; what the original gives is computed once.

    Args:
        original: An ONNX file, or a function that runs the original.
        worker: Runs ONNX files.
        folder: An existing folder that holds the original's outputs.
        specs: The inputs with the ranges to compare at.
        data: Arrays to compare on; random ones at the min, opt, max and an odd size unless given.
        tolerance: When an output passes.
        strict: Whether an ONNX original and the files do the same arithmetic.
        resolution: Of the coarsest type that they compute in.
        open_dims: Dimensions nobody gave a range for. The original need not run at every size chosen for them.

    Raises:
        InputSpecError: The data does not fit the specs.
    """

    def __init__(
        self,
        original: Path | Side,
        worker: Worker,
        folder: Path,
        specs: Sequence[TensorSpec],
        data: Feed | None,
        tolerance: Tolerance,
        *,
        strict: bool = False,
        resolution: float = 0.0,
        open_dims: Collection[str] = (),
    ) -> None:
        self._original, self._worker, self._folder, self._tolerance = original, worker, folder, tolerance
        self._feeds = list(lazy_feeds(specs))
        if data is not None:
            self._feeds = [LazyFeed("data", check_feed(data, specs), lambda: data)]
        self._strict = strict and isinstance(original, Path)
        self._resolution = resolution
        self._sizes_are_guesses = bool(open_dims) and data is None
        self._numbers = count()
        self._recorded: dict[bool, tuple[Recording, ...]] = {}

    def run_original(self, stage: Stage) -> None:
        """Runs the original unless it has been; what it raises is no fault of a file that is compared with it.

        Raises:
            ArtifactError: onnxruntime cannot load it.
            ValidationError: It raised, or its process died.
        """
        if self._strict and self._reference(stage, optimized=False):
            return
        self._reference(stage, optimized=True)

    def compare(self, artifact: Path, stage: Stage, *, reordered: bool = False) -> Comparison:
        """Compares a file with the original.

        Args:
            artifact: The file.
            stage: Told which feed runs.
            reordered: Whether a rewrite put sums in another order.

        Raises:
            ArtifactError: onnxruntime cannot load the file.
            ValidationError: One of the sides raised, or its process died.
        """
        if self._strict and self._reference(stage, optimized=False):
            exact = self._compared(artifact, stage, Arithmetic.REORDERED if reordered else Arithmetic.SAME)
            if not exact.passed:
                return exact
            usual = self._compared(artifact, stage, Arithmetic.OTHER)
            last = replace(usual.feeds[0], label=f"{usual.feeds[0].label}{OPTIMIZED}")
            return Comparison(self._tolerance, (*exact.feeds, last))
        return self._compared(artifact, stage, Arithmetic.OTHER)

    def _compared(self, artifact: Path, stage: Stage, arithmetic: Arithmetic) -> Comparison:
        optimized = arithmetic is Arithmetic.OTHER
        return compare(
            self._reference(stage, optimized=optimized),
            self._worker.side(artifact, optimized=optimized),
            self._tolerance,
            arithmetic=arithmetic,
            resolution=self._resolution,
            on_feed=stage.now,
        )

    def _reference(self, stage: Stage, *, optimized: bool) -> tuple[Recording, ...]:
        """Returns what the original gives; nothing, and the proof is no longer strict, if it only runs optimized."""
        if optimized not in self._recorded:
            feeds = [self._typical()] if optimized and self._strict else self._feeds
            side = self._original
            if isinstance(side, Path):
                side = self._worker.side(side, optimized=optimized)
            try:
                self._recorded[optimized] = tuple(self._recordings(side, feeds, stage))
            except S2DeployError:
                if optimized:
                    raise
                self._strict = False
                return ()
        return self._recorded[optimized]

    def _recordings(self, side: Side, feeds: Sequence[LazyFeed], stage: Stage) -> Iterator[Recording]:
        typical = self._typical()
        for feed in feeds:
            try:
                yield from record(side, [feed], hold=self._hold, on_feed=stage.now)
            except S2DeployError:
                if feed is typical or not self._sizes_are_guesses:
                    raise

    def _typical(self) -> LazyFeed:
        return next((feed for feed in self._feeds if feed.label == "opt"), self._feeds[0])

    def _hold(self, outputs: Feed) -> Feed:
        return on_disk(outputs, self._folder / f"expected-{next(self._numbers)}")


def describe(comparison: Comparison) -> str:
    """Returns the result in one line."""
    count = len(comparison.feeds[0].outputs)
    outputs = f"{count} output" + ("" if count == 1 else "s")
    labels = ", ".join(feed.label for feed in comparison.feeds if not feed.label.endswith(OPTIMIZED))
    sizes = f" at {labels} sizes" if comparison.feeds[0].sizes else ""
    return f"{outputs}{sizes}: {len(comparison.failures) or 'none'} beyond the tolerance"
