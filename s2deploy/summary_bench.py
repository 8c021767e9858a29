"""The closing lines of `bench`, for people."""

from __future__ import annotations

from s2deploy.benchmark import Agreement, Measurement
from s2deploy.plot import milliseconds
from s2deploy.report import format_bytes, format_table
from s2deploy.results import BenchResult


def bench_lines(result: BenchResult) -> list[str]:
    """Returns the table, what failed and what makes the numbers shaky."""
    on_gpu = any(entry.device_ms is not None for entry in result.measurements)
    on_one_thread = result.threads == 1 and not on_gpu
    more = ["GPU"] if on_gpu else ["cpu", "ratio"] if on_one_thread else []
    header = ["", "ms", "p90", "p99", "ratio", "from..to", *more, "ready", "memory", "outputs"]
    rows = [_row(entry, result.baseline, on_gpu, on_one_thread) for entry in result.measurements]
    lines = ["", *format_table([header, *rows]), ""]
    lines.append(
        f"median of all calls; ratio of medians to {result.baseline}, and its range over blocks of the {result.rounds} "
        "rounds"
    )
    if on_one_thread:
        lines.append("cpu: median processor time in ms, without what other programs and a hypervisor took; its ratio")
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


def _row(entry: Measurement, baseline: str, on_gpu: bool, on_one_thread: bool) -> list[str]:
    more = ["-" if entry.device_ms is None else milliseconds(entry.device_ms)] if on_gpu else []
    if on_one_thread:
        more = ["-" if entry.cpu_ms is None else milliseconds(entry.cpu_ms)]
        more.append("-" if entry.cpu_ratio is None else f"{entry.cpu_ratio.value:.2f}")
    is_baseline = entry.label == baseline
    return [
        entry.label,
        milliseconds(entry.median_ms),
        milliseconds(entry.p90_ms),
        milliseconds(entry.p99_ms),
        "1" if is_baseline else f"{entry.ratio.value:.2f}",
        "" if is_baseline else f"{entry.ratio.low:.2f}..{entry.ratio.high:.2f}",
        *more,
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
