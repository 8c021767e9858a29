"""Judges one output: ``|d| <= atol * max|ref| + rtol * |ref|``, with NaN and Inf where the reference has them.

Where both sides do the same arithmetic, as a graph and its rewrite do, only rounding may differ: a kernel may add in
another order when an operand becomes a constant. A mean over a large map would hide a wrong border from more than that.
Where a rewrite has put sums in another order, results may differ by 2e-5 of the largest value; in types of 16 bits,
which do not resolve that, by four steps of the type. Integers are equal in all cases.

Differences are taken in float64, a chunk at a time: an output of 1 GB must not need another 8 GB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from s2deploy.accuracy.comparison import OutputComparison
from s2deploy.feeds import Array
from s2deploy.specs import Tolerance

_CHUNK_ELEMENTS = 1 << 16  # a dozen float64 arrays of a chunk fit the processor's cache
_EXACT = Tolerance(atol=0.0, rtol=0.0)
_ROUNDING_STEPS = 100
_REORDERED = 2e-5
_REORDERED_STEPS = 1 << 20
_STEPS_OF_16_BITS = 4

Float64 = npt.NDArray[np.float64]


class Arithmetic(Enum):
    """How the arithmetic of the two sides is related."""

    OTHER = "other"
    """Two programs of one meaning; the tolerance that was asked for applies."""
    SAME = "same"
    """The same operations on the same numbers: rounding, and no more than the tolerance."""
    REORDERED = "reordered"
    """The same but for the order of sums and products, and for what distributes over them."""


@dataclass
class _Tally:
    """What was seen over the chunks so far."""

    worst_absolute: float = 0.0
    worst_relative: float = 0.0
    beyond: int = 0
    special: int = 0
    other_bits: int = 0
    worst_excess: float = -1.0
    worst_index: int = 0


def judge_output(
    name: str,
    reference: Array | None,
    candidate: Array | None,
    tolerance: Tolerance,
    *,
    arithmetic: Arithmetic = Arithmetic.OTHER,
    resolution: float = 0.0,
) -> OutputComparison:
    """Compares one output of the two sides.

    Args:
        name: The output's name.
        reference: The reference's array of any shape and dtype; None where it has no such output.
        candidate: The candidate's array; None where it has no such output.
        tolerance: What floating-point outputs may differ by; all others must be equal.
        arithmetic: How the arithmetic of the two sides is related.
        resolution: Of the coarsest type they compute in, where that may be coarser than the output's.
    """

    def incomparable(reason: str) -> OutputComparison:
        return OutputComparison(name, None, None, None, tolerance, False, reason)

    if reference is None or candidate is None:
        return incomparable(f"the {'reference' if reference is None else 'candidate'} has no such output")
    if reference.shape != candidate.shape:
        return incomparable(f"shape differs: {_shape(reference)} expected, {_shape(candidate)} found")
    if reference.dtype.hasobject or candidate.dtype.hasobject:
        equal = bool(np.array_equal(reference, candidate))
        return OutputComparison(name, None, None, None, _EXACT, equal, None if equal else "values differ", equal)
    applied = _EXACT
    if _is_float(reference):
        applied = _applied(tolerance, arithmetic, max(_resolution(reference), resolution))
    largest = _largest_finite(reference)
    with np.errstate(all="ignore"):  # the difference of two huge float64 values may overflow: it is then Inf, and fails
        tally = _tally(reference, candidate, applied, largest)
    reason = _reason(tally, reference, candidate)
    identical = reason is None and tally.other_bits == 0
    return OutputComparison(
        name, tally.worst_absolute, tally.worst_relative, largest, applied, reason is None, reason, identical
    )


def _applied(tolerance: Tolerance, arithmetic: Arithmetic, resolution: float) -> Tolerance:
    """Returns what floating-point values of a resolution may differ by."""
    if arithmetic is Arithmetic.SAME:
        rounding = _ROUNDING_STEPS * resolution
        return Tolerance(min(tolerance.atol, rounding), min(tolerance.rtol, rounding))
    if arithmetic is Arithmetic.REORDERED:
        return Tolerance(max(min(_REORDERED, _REORDERED_STEPS * resolution), _STEPS_OF_16_BITS * resolution), 0.0)
    return tolerance


def _tally(reference: Array, candidate: Array, tolerance: Tolerance, largest: float) -> _Tally:
    tally = _Tally()
    floor = tolerance.atol * largest
    exact = not _is_float(reference) and reference.dtype == candidate.dtype
    for start, ref, out in _chunks(reference, candidate):
        tally.other_bits += ref.tobytes() != out.tobytes()
        expected, found = ref.astype(np.float64), out.astype(np.float64)
        finite = np.isfinite(expected) & np.isfinite(found)
        same_special = (np.isnan(expected) & np.isnan(found)) | (expected == found)
        tally.special += int(np.count_nonzero(~finite & ~same_special))
        difference = np.abs(np.subtract(found, expected, where=finite, out=np.zeros_like(expected)))
        magnitude = np.where(finite, np.abs(expected), 0.0)
        excess = difference - (floor + tolerance.rtol * magnitude)
        # int64 values above 2**53 can differ and still be equal in float64
        beyond = (ref != out) if exact else excess > 0
        tally.beyond += int(np.count_nonzero(beyond))
        relevant = magnitude > floor
        if relevant.any():
            tally.worst_relative = max(tally.worst_relative, float((difference[relevant] / magnitude[relevant]).max()))
        tally.worst_absolute = max(tally.worst_absolute, float(difference.max()))
        score = np.where(beyond, excess, -1.0)
        index = int(score.argmax())
        if score[index] > tally.worst_excess:
            tally.worst_excess, tally.worst_index = float(score[index]), start + index
    return tally


def _reason(tally: _Tally, reference: Array, candidate: Array) -> str | None:
    if reference.dtype != candidate.dtype:
        return f"dtype differs: {reference.dtype} expected, {candidate.dtype} found"
    if tally.special:
        return f"NaN or Inf do not coincide in {tally.special} of {reference.size} values"
    if tally.beyond:
        where = tuple(int(i) for i in np.unravel_index(tally.worst_index, reference.shape))
        return (
            f"{tally.beyond} of {reference.size} values differ by more than the tolerance, worst at {list(where)}: "
            f"{reference[where]} expected, {candidate[where]} found"
        )
    return None


def _chunks(reference: Array, candidate: Array) -> Iterator[tuple[int, Array, Array]]:
    flat_reference, flat_candidate = reference.reshape(-1), candidate.reshape(-1)
    for start in range(0, reference.size, _CHUNK_ELEMENTS):
        stop = start + _CHUNK_ELEMENTS
        yield start, flat_reference[start:stop], flat_candidate[start:stop]


def _largest_finite(array: Array) -> float:
    largest = 0.0
    flat = array.reshape(-1)
    for start in range(0, array.size, _CHUNK_ELEMENTS):
        values: Float64 = np.abs(flat[start : start + _CHUNK_ELEMENTS].astype(np.float64))
        largest = max(largest, float(values.max(where=np.isfinite(values), initial=0.0)))
    return largest


def _is_float(array: Array) -> bool:
    """Whether the dtype is floating point, bfloat16 and its kin included, which numpy calls void."""
    return array.dtype.kind in "fV"


def _resolution(array: Array) -> float:
    """Returns the distance from 1 to the next larger value of a dtype."""
    if array.dtype.kind == "f":
        return float(np.finfo(array.dtype).eps)
    import ml_dtypes

    finfo: Any = ml_dtypes.finfo
    return float(finfo(array.dtype).eps)


def _shape(array: Array) -> str:
    return "x".join(map(str, array.shape)) or "scalar"
