"""The range of a value that int8 spreads its 255 steps over, from what calibration saw.

``minmax`` takes the largest magnitude: nothing is clipped. ``entropy`` clips outliers where that loses less
information than coarser steps would: of all thresholds it takes the one whose quantised histogram is closest to the
original one by Kullback-Leibler divergence.
Ranges are symmetric, because TensorRT knows no zero point.
Source: S. Migacz, 8-bit Inference with TensorRT (GTC 2017). onnxruntime's entropy calibrator is not used: with its
defaults, 128 bins for 128 levels, it has a single threshold to choose from, and it keeps every value of every feed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from s2deploy.errors import BuildError
from s2deploy.feeds import Array, Feed
from s2deploy.options import Calibrator
from s2deploy.precision.graph import some
from s2deploy.precision.probes import Summary, summaries, values_of

if TYPE_CHECKING:
    import onnx_ir as ir

_BINS = 2048
_LEVELS = 128
_SEEN_PER_BIN = 16
"""With fewer elements a bin, chance empties bins, and the divergence prefers thresholds that are far too low."""
_STRIDE = 16  # bins from one threshold to the next: below a hundredth of the range
_NEXT_TO_NOTHING = 1e-4  # of an element
_MOST_BYTES = 256 << 20


def ranges(model: ir.Model, names: Sequence[str], feeds: Iterable[Feed], calibrator: Calibrator) -> dict[str, float]:
    """Returns the largest magnitude int8 shall represent, for values of the main graph.

    Args:
        model: The float32 model.
        names: Names of the values.
        feeds: The calibration data; it is iterated several times.
        calibrator: How the range is chosen.

    Raises:
        BuildError: A value is not finite in float32 already.
        ValidationError: onnxruntime cannot run the model.
    """
    seen = summaries(model, names, feeds)
    broken = [name for name in names if not seen[name].finite]
    if broken:
        raise BuildError(
            f"with the calibration data, these are infinite or not a number in float32: {some(broken)}",
            hint="give calibration data the model was made for",
        )
    if calibrator is Calibrator.MINMAX:
        return {name: seen[name].largest for name in names}
    found: dict[str, float] = {}
    for chunk in _chunks(seen):
        histograms = {name: np.zeros(_BINS, np.int64) for name in chunk}
        for values in values_of(model, chunk, feeds):
            for name, array in values.items():
                histograms[name] += _histogram(array, seen[name].largest)
        for name, histogram in histograms.items():
            found[name] = seen[name].largest * entropy_threshold(histogram)
    return found


def entropy_threshold(histogram: Array) -> float:
    """Returns which share of the range of a histogram of magnitudes to keep; what is beyond is clipped.

    Args:
        histogram: Counts of the magnitudes in bins of equal width, from 0; a power of two of them.
    """
    while len(histogram) > _LEVELS and histogram.sum() < _SEEN_PER_BIN * len(histogram):
        histogram = histogram.reshape(-1, 2).sum(axis=1)
    bins = len(histogram)
    histogram = histogram.copy()
    histogram[0] = histogram[1]  # zeros, such as a Relu's, cost nothing at any step and would outweigh the rest
    best, threshold = np.inf, bins
    total = histogram.sum()
    if total == 0:
        return 1.0
    for kept in range(_LEVELS, bins + 1, _STRIDE):
        counts = histogram[:kept].astype(np.float64)
        clipped = counts.copy()
        clipped[-1] += total - counts.sum()
        level = np.arange(kept) * _LEVELS // kept
        occupied = clipped > 0
        sums = np.bincount(level, weights=counts, minlength=_LEVELS)
        shares = np.bincount(level, weights=occupied, minlength=_LEVELS)
        spread = np.divide(sums, shares, out=np.zeros(_LEVELS), where=shares > 0)[level]
        # what was clipped may fall where nothing else is: a finite distance, not an infinite one
        spread = np.maximum(spread, _NEXT_TO_NOTHING)[occupied]
        p, q = clipped[occupied] / total, spread / spread.sum()
        divergence = float(np.sum(p * np.log(p / q)))
        if divergence < best:
            best, threshold = divergence, kept
    return threshold / bins


def _histogram(array: Array, largest: float) -> Array:
    if largest == 0:
        return np.zeros(_BINS, np.int64)
    counts: Array = np.histogram(np.abs(array), _BINS, range=(0.0, largest))[0]
    return counts


def _chunks(seen: dict[str, Summary]) -> Iterable[list[str]]:
    """Yields names whose values fit into memory together."""
    chunk: list[str] = []
    held = 0
    for name, summary in seen.items():
        if chunk and held + 4 * summary.elements > _MOST_BYTES:
            yield chunk
            chunk, held = [], 0
        chunk.append(name)
        held += 4 * summary.elements
    if chunk:
        yield chunk
