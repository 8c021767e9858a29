"""The proof: the written file on onnxruntime against the original."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from s2deploy.accuracy import Comparison, LazyFeed, Side, compare, lazy_feeds
from s2deploy.feeds import Feed, check_feed
from s2deploy.report import Reporter
from s2deploy.runtime import load
from s2deploy.specs import TensorSpec, Tolerance


def prove(
    reference: Side,
    artifact: Path,
    specs: Sequence[TensorSpec],
    data: Feed | None,
    tolerance: Tolerance,
    reporter: Reporter,
) -> Comparison:
    """Compares an ONNX file with the original it was made from.

    Args:
        reference: Runs the original.
        artifact: The file.
        specs: The inputs with the ranges to compare at.
        data: Arrays to compare on; random ones at the min, opt, max and an odd size unless given.
        tolerance: When an output passes.
        reporter: Told about the stage.

    Raises:
        InputSpecError: The data does not fit the specs.
        ArtifactError: onnxruntime cannot load the file.
        ValidationError: One of the sides raised.
    """
    feeds = lazy_feeds(specs)
    if data is not None:
        feeds = iter([LazyFeed("data", check_feed(data, specs), lambda: data)])
    with reporter.stage("validate", "comparing outputs on onnxruntime") as stage, load(artifact) as session:
        comparison = compare(reference, session, feeds, tolerance, on_feed=stage.now)
        stage.detail = _describe(comparison)
    return comparison


def _describe(comparison: Comparison) -> str:
    count = len(comparison.feeds[0].outputs)
    outputs = f"{count} output" + ("" if count == 1 else "s")
    labels = ", ".join(feed.label for feed in comparison.feeds)
    sizes = f" at {labels} sizes" if comparison.feeds[0].sizes else ""
    return f"{outputs}{sizes}: {len(comparison.failures) or 'none'} beyond the tolerance"
