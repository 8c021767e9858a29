"""What a precision cost: the typed graph compared with float32 on onnxruntime, and the nodes that overflowed.

Both run on a CPU, the typed graph as `emulation` writes it.

What follows from it (`s2deploy.engine.typed`): an output that lost elements breaks the model whatever it was run on. A
missed tolerance breaks it on calibration data, unless the user accepts that; on random inputs, which no model was made
for, it is a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from s2deploy.feeds import Array, Feed
from s2deploy.precision.emulation import emulated
from s2deploy.precision.overflow import Lineage, Overflow
from s2deploy.precision.probes import Summary, merged, run
from s2deploy.specs import Precision

if TYPE_CHECKING:
    import onnx_ir as ir

LEAST_COSINE = {Precision.FP16: 0.9999, Precision.BF16: 0.999, Precision.INT8: 0.98}
"""The least cosine similarity of an output with float32 that passes.

Measured by ``benchmarks/precision_cost.py`` with random weights and inputs: 1 minus the cosine is 1e-6 in fp16, 5e-5 in
bf16 and 4e-4 in int8 for a block of S2-MLPv2, and less for the whole model; 20 to 100 times that passes.
"""
MOST_DIFFERENCE = {Precision.FP16: 0.05, Precision.BF16: 0.2, Precision.INT8: 0.5}
"""The largest difference from float32 that passes, as a share of an output's largest magnitude.

Measured as above: 0.0013, 0.0095 and 0.026 for a block; 20 to 40 times that passes.
"""


@dataclass(frozen=True)
class OutputCost:
    """One output, over all feeds.

    Attributes:
        name: The output's name.
        cosine: The least cosine similarity with float32 of all feeds, over the elements finite on both sides; None for
            integers and booleans.
        worst: The largest difference from float32 among those elements.
        largest: The largest finite magnitude in float32, to see `worst` beside.
        lost: How many elements are finite in float32 and not in the typed graph.
    """

    name: str
    cosine: float | None
    worst: float
    largest: float
    lost: int


@dataclass(frozen=True)
class Cost:
    """What a precision cost.

    Attributes:
        precision: Which one.
        feeds: How many feeds were compared.
        calibrated: Whether they are calibration data; otherwise they are random.
        outputs: One comparison per output.
        overflows: The nodes that overflowed, in the graph's order.
        repair: Names of the nodes to keep in float32 so that none of `overflows` does.
    """

    precision: Precision
    feeds: int
    calibrated: bool
    outputs: tuple[OutputCost, ...]
    overflows: tuple[Overflow, ...]
    repair: tuple[str, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """Why the typed graph does not stand for the float32 one: a sentence per output; empty if it does."""
        return tuple(text for output in self.outputs for text in _failure(output, self.precision))

    @property
    def broken(self) -> bool:
        """Whether an output lost elements to overflow, or is too unlike float32."""
        return bool(self.failures)

    @property
    def lost(self) -> bool:
        """Whether an output lost elements: finite in float32, infinite or not a number in the typed graph."""
        return any(output.lost for output in self.outputs)

    def to_dict(self) -> dict[str, Any]:
        """Returns the cost as JSON values."""
        return asdict(self) | {"precision": self.precision.value, "broken": self.broken, "failures": self.failures}


def _failure(output: OutputCost, precision: Precision) -> Iterator[str]:
    least, most = LEAST_COSINE[precision], MOST_DIFFERENCE[precision]
    if output.lost:
        yield f"output {output.name!r}: {output.lost} elements that are finite in fp32 are not in {precision.value}"
    elif output.cosine is not None and output.cosine < least:
        yield f"output {output.name!r}: the cosine similarity with fp32 is {output.cosine:.4g}, below {least}"
    elif output.cosine is not None and output.worst > most * output.largest:
        yield (
            f"output {output.name!r}: differs from fp32 by {output.worst:.3g}, more than {most:.0%} of"
            f" its largest value {output.largest:.3g}"
        )


def measure(
    reference: ir.Model, typed: ir.Model, precision: Precision, feeds: Iterable[Feed], *, calibrated: bool
) -> Cost:
    """Compares a typed graph with float32.

    Args:
        reference: The float32 model the typed one was made from, with the same names of nodes.
        typed: The typed model.
        precision: What it was typed for.
        feeds: What to run both on, in float32; iterated several times.
        calibrated: Whether the feeds are calibration data.

    Raises:
        ValidationError: onnxruntime cannot run one of them.
    """
    # a range of int8 clips, it does not overflow
    lineage = None if precision is Precision.INT8 else Lineage(reference, typed)
    outputs: list[OutputCost] = []
    rounded: dict[str, Summary] = {}
    count = 0
    names = lineage.names if lineage else ()
    exact = [wanted for wanted, _ in run(reference, feeds)]  # one after the other: their weights are large
    for wanted, (given, seen) in zip(exact, run(emulated(typed), feeds, names), strict=True):
        compared = [_compared(name, wanted[name], given[name]) for name in wanted]
        outputs = [_both(*pair) for pair in zip(outputs, compared, strict=True)] if outputs else compared
        rounded = merged(rounded, seen)
        count += 1
    overflows, repair = lineage.overflows(rounded, feeds) if lineage else ((), ())
    return Cost(precision, count, calibrated, tuple(outputs), overflows, repair)


def _compared(name: str, wanted: Array, given: Array) -> OutputCost:
    if wanted.dtype.kind not in "fiub" or wanted.shape != given.shape:
        different = wanted.shape != given.shape or bool((wanted != given).any())
        return OutputCost(name, None, float(different), 0.0, 0)
    exact, rounded = wanted.astype(np.float64).ravel(), given.astype(np.float64).ravel()
    usable = np.isfinite(exact)
    lost = int(np.count_nonzero(usable & ~np.isfinite(rounded)))
    usable &= np.isfinite(rounded)
    exact, rounded = exact[usable], rounded[usable]
    worst = float(np.max(np.abs(exact - rounded), initial=0.0))
    largest = float(np.max(np.abs(exact), initial=0.0))
    return OutputCost(name, _cosine(exact, rounded) if wanted.dtype.kind == "f" else None, worst, largest, lost)


def _cosine(exact: Array, rounded: Array) -> float:
    norms = float(np.linalg.norm(exact)) * float(np.linalg.norm(rounded))
    if norms == 0:
        return float(not exact.any() and not rounded.any())
    return min(1.0, float(exact @ rounded) / norms)


def _both(a: OutputCost, b: OutputCost) -> OutputCost:
    cosine = None if a.cosine is None or b.cosine is None else min(a.cosine, b.cosine)
    return OutputCost(a.name, cosine, max(a.worst, b.worst), max(a.largest, b.largest), a.lost + b.lost)
