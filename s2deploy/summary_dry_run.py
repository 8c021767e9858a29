"""What a dry run of a build found, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from s2deploy.report import format_bytes, format_table
from s2deploy.summary import cost_lines, profile_rows

if TYPE_CHECKING:
    from s2deploy.engine import DryRun
    from s2deploy.engine.estimate import Peak
    from s2deploy.sidecar import EngineTensor

_MOST_OPERATORS = 8


def dry_run_lines(found: DryRun) -> list[str]:
    """Returns what would be built, what is known against it, and how the families differ."""
    rows = [
        ("built by", found.family),
        *([] if found.unavailable is None else [("", f"not on this machine: {found.unavailable}")]),
        ("runs on", _gpus(found)),
        ("flags", ", ".join(found.flags) or "none"),
        ("graph", _graph(found)),
        ("products", _counts(found.products, " in ") or "none: no matrix product or convolution"),
        *([("plugins", found.kernels)] if found.kernels else []),
        *(("float32", f"{_counts(wide.operators)}: {wide.reason}") for wide in found.stays_float32),
        *(("input", _tensor(tensor)) for tensor in found.inputs),
        *_profiles(found),
        *(("output", _tensor(tensor)) for tensor in found.outputs),
        ("weights", _weights(found)),
        *_activation_rows(found.activations),
        ("parser", _parser(found)),
        *(("", f"✗ {line}") for line in (found.parser.failures if found.parser is not None else ())),
        *(("measured", line) for line in ([] if found.cost is None else cost_lines(found.cost))),
    ]
    lines = ["", *format_table(rows), *_families(found)]
    verdict = "nothing is known against this build" if found.builds else "✗ this build would fail"
    return [*lines, "", f"{verdict}; nothing was written"]


def _profiles(found: DryRun) -> list[tuple[str, str]]:
    several = len(found.inputs) > 1 or len(found.profiles) > 1
    return [("", f"{head}: {sizes}" if several else sizes) for head, sizes in profile_rows(found.profiles)]


def _gpus(found: DryRun) -> str:
    if found.target == "rtx":
        return f"GPUs of compute capability {', '.join(found.capabilities)}"
    return "the GPU of the machine that builds it"


def _graph(found: DryRun) -> str:
    opset = f"opset {found.opset}" + (f" -> {found.opset_built}" if found.opset_built != found.opset else "")
    if not found.operators_changed:
        return f"{opset}, {found.nodes} nodes, as in the file"
    changes = sorted(found.operators_changed.items(), key=lambda item: -abs(item[1][1] - item[1][0]))
    shown = [f"{name} {before} -> {after}" for name, (before, after) in changes[:_MOST_OPERATORS]]
    more = [f"{len(changes) - _MOST_OPERATORS} more kinds"] if len(changes) > _MOST_OPERATORS else []
    return f"{opset}, nodes {found.nodes} -> {found.nodes_built}: {', '.join([*shown, *more])}"


def _weights(found: DryRun) -> str:
    sizes = found.weight_bytes
    shares = ", ".join(f"{format_bytes(size)} {name}" for name, size in sizes.items())
    if not sizes:
        return "none"
    total = f"{format_bytes(sum(sizes.values()))} ({shares})" if len(sizes) > 1 else shares
    return f"{total}; the plan holds them and its kernels"


def _activation_rows(peaks: tuple[Peak, ...]) -> list[tuple[str, str]]:
    rows = []
    for index, peak in enumerate(peaks):
        which = f" of profile {index}" if len(peaks) > 1 else ""
        text = f"about {format_bytes(peak.peak_bytes)} at the opt sizes{which}"
        text += f", most at {peak.node}" if peak.node else ""
        text += "; an estimate without the builder's fusion and workspace"
        if peak.unknown:
            text += f", and without {peak.unknown} tensor{'s' if peak.unknown > 1 else ''} of unknown size"
        rows.append(("activations", text))
    return rows


def _parser(found: DryRun) -> str:
    check = found.parser
    if check is None:
        return f"not asked: {found.family} is not on this machine, so unsupported operators are not known"
    if check.failures:
        return f"{check.parser} does not take the model:"
    return f"{check.parser} takes every node"


def _families(found: DryRun) -> list[str]:
    if not found.families:
        return []
    header = ("family", "opset", "types from", "flags and settings", "")
    rows = [
        (
            family.name,
            str(family.opset),
            family.types_from,
            ", ".join(family.flags) or "none",
            "" if family.refusal is None else f"✗ {family.refusal}",
        )
        for family in found.families
    ]
    return ["", *format_table([header, *rows])]


def _tensor(tensor: EngineTensor) -> str:
    return f"{tensor.name}:{','.join('?' if size < 0 else str(size) for size in tensor.shape)}:{tensor.dtype}"


def _counts(counts: Mapping[str, int], word: str = " ") -> str:
    items = list(counts.items())
    more = [f"{len(items) - _MOST_OPERATORS} more kinds"] if len(items) > _MOST_OPERATORS else []
    return ", ".join([*(f"{count}{word}{name}" for name, count in items[:_MOST_OPERATORS]), *more])
