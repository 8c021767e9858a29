"""What was measured: frozen values, ready for the terminal and for JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """How many times as long as the baseline something takes.

    Attributes:
        value: The ratio of the medians over all rounds.
        low: The least ratio of medians over blocks of consecutive rounds.
        high: The greatest.
    """

    value: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """The width of the interval, as a share of the ratio."""
        return (self.high - self.low) / self.value


@dataclass(frozen=True)
class Agreement:
    """Whether a candidate gives what the reference gives for the same inputs.

    Attributes:
        passed: Whether every output is within the tolerance.
        worst: The largest difference as a share of its output's largest value; None where outputs cannot be compared.
        reason: Why it did not pass; None where it did.
        undefined: Whether it is eager PyTorch with overlapping in-place operations, whose result nothing defines.
    """

    passed: bool
    worst: float | None
    reason: str | None = None
    undefined: bool = False

    @property
    def failed(self) -> bool:
        """Whether the candidate is wrong: it differs, and its result is defined."""
        return not self.passed and not self.undefined


@dataclass(frozen=True)
class Measurement:
    """How long one candidate takes for a call, from arrays in the processor's memory to arrays there.

    Attributes:
        label: What the candidate is called; unique.
        artifact: The file or factory as the user named it.
        runner: What runs it: ``eager``, ``compile``, ``onnxruntime`` or ``plan``.
        backend: The same with its version.
        calls: Measured calls.
        median_ms: Median over all of them.
        p90_ms: 90th percentile.
        p99_ms: 99th percentile; close to the maximum below a hundred calls.
        least_ms: The shortest call.
        device_ms: Median of the time between two CUDA events around the GPU's work alone; None without a GPU.
        ratio: To the baseline's time.
        ready_seconds: From opening the artifact to the end of its first call, compilation included.
        peak_bytes: The most memory of its process.
        before_bytes: What the process had before it opened the artifact: the interpreter and libraries.
        agreement: How its outputs compare; None where it is itself the reference.
        cpu_ms: Median of the time that processors spent on a call, all threads together, kernel included; waiting for
            a GPU may count. On one thread of a CPU it is what a call takes when nothing else runs: what other programs
            and, where Linux accounts for it, a hypervisor's other machines take is no part of it.
        cpu_ratio: To the baseline's processor time.
    """

    label: str
    artifact: str
    runner: str
    backend: str
    calls: int
    median_ms: float
    p90_ms: float
    p99_ms: float
    least_ms: float
    device_ms: float | None
    ratio: Ratio
    ready_seconds: float
    peak_bytes: int
    before_bytes: int
    agreement: Agreement | None
    cpu_ms: float | None = None
    cpu_ratio: Ratio | None = None


@dataclass(frozen=True)
class Failure:
    """A candidate that could not be measured.

    Attributes:
        label: What the candidate is called.
        message: What happened.
        hint: What to do next.
    """

    label: str
    message: str
    hint: str | None
