"""What the pipeline returns: typed, frozen, ready for the terminal and for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from s2deploy.report import StageRecord
from s2deploy.specs import TensorSpec

if TYPE_CHECKING:
    from s2deploy.accuracy import Comparison
    from s2deploy.benchmark import Conditions, Failure, Measurement
    from s2deploy.overlap import Overlap
    from s2deploy.rewrite import RewriteReport


@dataclass(frozen=True)
class ExportResult:
    """What `export` found and wrote.

    Attributes:
        output: The file written; None where the outputs differed, because then nothing is written.
        size_bytes: Its size with external data.
        kind: What the source was, e.g. ``factory`` or ``onnx``.
        opset: Opset of the default domain.
        inputs: The inputs with the ranges they were validated for.
        writes_before: What other exporters make scatters of: in-place writes of a PyTorch source into parts of
            tensors, scatter nodes of an ONNX source.
        overlaps: Overlapping in-place operations of the source; empty for ONNX.
        eager_difference: Largest difference of eager PyTorch from clone semantics on a random input; None where
            nothing overlaps.
        rewrites: What the region algebra replaced and refused, with node and scatter counts.
        remarks: What else the user should know.
        comparison: The proof; None where it was not asked for.
        stages: The stages with their times.
        open_dims: Dimensions of the inputs that nobody gave a range for, which no rewrite relies on.
    """

    output: Path | None
    size_bytes: int
    kind: str
    opset: int
    inputs: tuple[TensorSpec, ...]
    writes_before: int
    overlaps: tuple[Overlap, ...]
    eager_difference: float | None
    rewrites: RewriteReport
    remarks: tuple[str, ...]
    comparison: Comparison | None
    stages: tuple[StageRecord, ...]
    open_dims: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the outputs agreed, as far as they were compared."""
        return self.comparison is None or self.comparison.passed


@dataclass(frozen=True)
class RunOutput:
    """An output over everything that was run.

    Attributes:
        name: Its name.
        dtype: Its dtype in the file.
        shapes: The shapes it had, each once.
        min: Its smallest finite value; None where it has none.
        mean: The mean of its finite values.
        max: Its largest finite value.
        not_finite: How many values are NaN or infinite.
    """

    name: str
    dtype: str
    shapes: tuple[tuple[int, ...], ...]
    min: float | None
    mean: float | None
    max: float | None
    not_finite: int


@dataclass(frozen=True)
class RunResult:
    """What `run` did.

    Attributes:
        artifact: The file that was run.
        backend: What ran it.
        output: The file or folder written; None where nothing was.
        samples: How many samples it was run on.
        calls: In how many calls.
        seconds: Time of the calls, of reading and of writing.
        outputs: What came out.
        stages: The stages with their times.
    """

    artifact: Path
    backend: str
    output: Path | None
    samples: int
    calls: int
    seconds: float
    outputs: tuple[RunOutput, ...]
    stages: tuple[StageRecord, ...]


@dataclass(frozen=True)
class BenchResult:
    """What `bench` measured.

    Attributes:
        measurements: The candidates, in the order they were named.
        failures: Those that could not be measured.
        baseline: The label that ratios refer to.
        inputs: Dtype and shape of each input.
        threads: Threads per operator.
        rounds: How often each candidate had its turn.
        conditions: The machine meanwhile.
        doubts: Why the numbers are shaky; empty where nothing speaks against them.
        stages: The stages with their times.
        plot: The drawing that was written, if any.
    """

    measurements: tuple[Measurement, ...]
    failures: tuple[Failure, ...]
    baseline: str
    inputs: Mapping[str, tuple[str, tuple[int, ...]]]
    threads: int
    rounds: int
    conditions: Conditions
    doubts: tuple[str, ...]
    stages: tuple[StageRecord, ...]
    plot: Path | None = None

    @property
    def passed(self) -> bool:
        """Whether every candidate was measured and computes what it should."""
        return not self.failures and not any(
            entry.agreement is not None and entry.agreement.failed for entry in self.measurements
        )
