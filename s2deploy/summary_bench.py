"""The closing lines of `bench`, for people."""

from __future__ import annotations

from s2deploy.benchmark import Agreement, Measurement
from s2deploy.plot import milliseconds
from s2deploy.report import format_bytes, format_table
from s2deploy.results import BenchResult


def bench_lines(result: BenchResult) -> list[str]:
    """Returns the table, what failed and what makes the numbers shaky."""
    on_gpu = any(entry.device_ms is not None for entry in result.measurements)
    header = ["", "ms", "p90", "p99", *(["GPU"] if on_gpu else []), "ratio", "from..to", "ready", "memory", "outputs"]
    rows = [_row(entry, result.baseline, on_gpu) for entry in result.measurements]
    lines = ["", *format_table([header, *rows]), ""]
    lines.append(
        f"median of all calls; ratio of medians to {result.baseline}, and its range over blocks of the {result.rounds} "
        "rounds"
    )
    for entry in result.measurements:
        if entry.agreement is not None and entry.agreement.failed:
            lines.append(f"✗ {entry.label} computes something else: {entry.agreement.reason}")
    for failure in result.failures:
        lines.append(f"✗ {failure.label} could not be measured: {failure.message}")
        if failure.hint is not None:
            lines.append(f"  hint: {failure.hint}")
    lines += [f"shaky: {doubt}" for doubt in result.doubts]
    if result.plot is not None:
        lines.append(f"wrote {result.plot}")
    return lines


def _row(entry: Measurement, baseline: str, on_gpu: bool) -> list[str]:
    device = "-" if entry.device_ms is None else milliseconds(entry.device_ms)
    is_baseline = entry.label == baseline
    return [
        entry.label,
        milliseconds(entry.median_ms),
        milliseconds(entry.p90_ms),
        milliseconds(entry.p99_ms),
        *([device] if on_gpu else []),
        "1" if is_baseline else f"{entry.ratio.value:.2f}",
        "" if is_baseline else f"{entry.ratio.low:.2f}..{entry.ratio.high:.2f}",
        f"{entry.ready_seconds:.1f} s",
        format_bytes(entry.peak_bytes),
        _outputs(entry.agreement),
    ]


def _outputs(agreement: Agreement | None) -> str:
    if agreement is None:
        return "the reference"
    worst = "" if agreement.worst is None else f" {agreement.worst:.0e}"
    if agreement.undefined:
        return f"undefined, off by{worst}" if not agreement.passed else f"✓{worst}, but undefined"
    return f"✓{worst}" if agreement.passed else f"✗{worst}"
