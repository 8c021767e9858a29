"""The closing lines of each command, for people; the same results as JSON, for programs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from s2deploy.assumptions import assumptions
from s2deploy.report import Reporter, format_bytes, format_table, to_json

if TYPE_CHECKING:
    from s2deploy.accuracy import Comparison, FeedComparison, OutputComparison
    from s2deploy.engine import BuildResult
    from s2deploy.precision import Cost
    from s2deploy.results import ExportResult
    from s2deploy.sidecar import Kernels, ProfileShapes


def show(result: object, lines: Iterable[str], reporter: Reporter, *, as_json: bool) -> None:
    """Prints the closing lines, and the result as JSON on stdout where that is wanted."""
    for line in lines:
        reporter.line(line)
    if as_json:
        print(to_json(result), file=sys.stdout, flush=True)


def export_lines(result: ExportResult, model: str, *, explain: bool) -> list[str]:
    """Returns what an export wrote, or why it wrote nothing.

    Args:
        result: What `export` returned.
        model: The model as the user named it, for the next command.
        explain: Whether to list rewrites and refusals.
    """
    lines = [*_explanation(result), ""] if explain else [""]
    comparison = result.comparison
    if result.output is None:
        if comparison is not None:
            lines += _failures(comparison)
        return [*lines, "nothing was written: the exported file does not compute what the model computes"]
    before = f"{result.writes_before} {'scatters' if result.kind == 'onnx' else 'in-place writes'}"
    lines.append(
        f"wrote {result.output}  {format_bytes(result.size_bytes)}, opset {result.opset}, "
        f"{result.rewrites.nodes_after} nodes, {before} -> {result.rewrites.scatters_after} scatters"
    )
    if result.rewrites.scatters_after and not explain:
        lines.append("scatters are left: repeat with --explain to see why")
    if result.rewrites.scatters_after and result.open_dims:
        lines.append(f"ranges may decide more, equal sizes under one name: {_ranges_to_give(result)}")
    if comparison is None:
        lines.append(f"not validated; do it with: s2deploy validate {shlex.quote(model)} {_quoted(result.output)}")
    else:
        lines.append(_verdict(comparison))
    plan = result.output.with_suffix(".plan")
    return [*lines, f"next: s2deploy build {_quoted(result.output)} --fp16 -o {_quoted(plan)}"]


def validation_lines(comparison: Comparison) -> list[str]:
    """Returns a table of all outputs at all sizes, and the verdict."""
    header = ("", "sizes", "output", "absolute", "relative", "allowed")
    rows = [_row(feed, output) for feed in comparison.feeds for output in feed.outputs]
    return ["", *format_table([header, *rows]), "", *_failures(comparison), _verdict(comparison)]


def build_lines(result: BuildResult) -> list[str]:
    """Returns what a build wrote."""
    sidecar = result.sidecar
    family = "TensorRT-RTX" if sidecar.target == "rtx" else "TensorRT"
    version = sidecar.versions.get("tensorrt_rtx" if sidecar.target == "rtx" else "tensorrt", "")
    gpus = " or ".join(sidecar.capabilities)
    lines = [
        "",
        f"wrote {result.plan}  {format_bytes(sidecar.plan.size_bytes)}, {sidecar.precision}",
        f"wrote {result.sidecar_path}  what it was built from and for",
        f"runs on {family} {version} with " + (f"a GPU of compute capability {gpus}" if gpus else "this machine's GPU"),
    ]
    if sidecar.proof is not None and sidecar.proof.computed:
        counts = ", ".join(f"{count} in {dtype}" for dtype, count in sidecar.proof.computed.items())
        lines.append(f"matrix products and convolutions, read back from the {sidecar.proof.read_from}: {counts}")
    if sidecar.kernels is not None:
        lines.append(kernel_line(sidecar.kernels))
    if result.cost is not None:
        lines += cost_lines(result.cost)
    return [*lines, *(f"{head}: {sizes}" for head, sizes in profile_rows(sidecar.profiles))]


def kernel_line(kernels: Kernels) -> str:
    """Returns what became of the operators of the plugins, and why."""
    counts = ", ".join(f"{count} {name}" for name, count in kernels.operators.items())
    return f"{counts}: {'kernels' if kernels.used else 'functions written out'}: {kernels.reason}"


def cost_lines(cost: Cost) -> list[str]:
    """Returns what a precision costs, an output a line, and where it overflows without harm."""
    precision, source = cost.precision.value, "calibration data" if cost.calibrated else "random inputs"
    lines = []
    for output in cost.outputs:
        cosine = "" if output.cosine is None else f"cosine similarity {output.cosine:.6f}, "
        lines.append(
            f"output {output.name} in {precision} against fp32 on onnxruntime, {source}: {cosine}"
            f"worst difference {number(output.worst)} of values up to {number(output.largest)}"
        )
    for failure in cost.failures:
        why = "accepted" if cost.calibrated else "measure it on typical inputs with --calibration"
        lines.append(f"⚠ {failure} ({why})")
    if cost.overflows:
        nodes = ", ".join(overflow.node for overflow in cost.overflows)
        lines.append(f"overflow in {precision} without harm to the outputs: {nodes}")
    return lines


def profile_rows(profiles: Sequence[Mapping[str, ProfileShapes]]) -> list[tuple[str, str]]:
    """Returns every input of every optimization profile with its sizes."""
    rows = []
    for index, profile in enumerate(profiles):
        which_profile = f"profile {index}, " if len(profiles) > 1 else ""
        for name, shapes in profile.items():
            sizes = (f"{which} {'x'.join(map(str, getattr(shapes, which)))}" for which in ("min", "opt", "max"))
            rows.append((f"{which_profile}input {name}", ", ".join(sizes)))
    return rows


def number(value: float | None) -> str:
    """Returns a difference with two digits, a dash where there is none."""
    return "-" if value is None else f"{value:.1e}" if value else "0"


def _ranges_to_give(result: ExportResult) -> str:
    """Returns the options that would declare the sizes nobody declared."""
    texts = []
    for spec in result.inputs:
        if any(dim.name in result.open_dims for dim in spec.dims):
            sizes = (f"{dim.name}=MIN..MAX" if dim.name in result.open_dims else str(dim) for dim in spec.dims)
            texts.append(f'--input "{spec.name}:{",".join(sizes)}"')
    return " ".join(texts)


def _explanation(result: ExportResult) -> list[str]:
    """Returns what was removed, what was kept and why, and what the file takes for granted."""
    report = result.rewrites
    gains = [rewrite for rewrite in report.rewrites if rewrite.before != rewrite.after]
    lines = [f"rewrites: {len(gains)}"]
    for rewrite in gains:
        place = "" if rewrite.source is None else f" ({rewrite.source})"
        lines.append(f"  {rewrite.name}{place}: {_operators(rewrite.before)} -> {_operators(rewrite.after)}")
    lines.append(f"layouts for {report.runtime.value}: {len(report.layouts)}")
    lines += [f"  {layout}" for layout in report.layouts]
    lines.append(f"kept, with reasons: {len(report.refusals)}")
    reasons: dict[tuple[str, str], list[str]] = {}
    for refusal in report.refusals:
        reasons.setdefault((refusal.op_type, refusal.reason), []).append(refusal.node)
    for (operator, reason), nodes in reasons.items():
        more = "" if len(nodes) == 1 else f" and {len(nodes) - 1} more"
        lines.append(f"  {operator} {nodes[0]}{more}: {reason}")
    lines.append(f"withdrawn: {len(report.withdrawn)}")
    lines += [f"  {withdrawal.change}: {withdrawal.reason}" for withdrawal in report.withdrawn]
    assumed = assumptions(report.guards)
    if assumed or any(spec.dynamic for spec in result.inputs):
        lines.append(f"right where: {', '.join(assumed) or 'all sizes are at least 1'}")
    return lines


def _operators(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {operator}" for operator, count in sorted(counts.items())) or "nothing"


def _row(feed: FeedComparison, output: OutputComparison) -> tuple[str, ...]:
    allowed = f"{output.tolerance.atol:g} max + {output.tolerance.rtol:g} each"
    return (
        "✓" if output.passed else "✗",
        _sizes(feed),
        output.name,
        number(output.worst_absolute),
        number(output.worst_relative),
        "equal" if output.tolerance.atol == output.tolerance.rtol == 0 else allowed,
    )


def _failures(comparison: Comparison) -> list[str]:
    return [f"✗ output {output.name!r} at {_sizes(feed)}: {output.reason}" for feed, output in comparison.failures]


def _verdict(comparison: Comparison) -> str:
    if comparison.identical:
        return "✓ every output is the same bit by bit"
    tolerance = comparison.tolerance
    text = (
        f"worst difference {number(comparison.worst_absolute)} absolute, {number(comparison.worst_relative)} relative "
        f"(allowed: {tolerance.atol:g} of the largest output + {tolerance.rtol:g} of each value)"
    )
    return f"{'✓' if comparison.passed else '✗'} {text}"


def _sizes(feed: FeedComparison) -> str:
    if feed.sizes:
        return " ".join([feed.label, *(f"{name}={size}" for name, size in feed.sizes.items())])
    return " ".join(f"{name}:{','.join(map(str, shape))}" for name, shape in feed.shapes.items())


def _quoted(path: object) -> str:
    return shlex.quote(str(path))
