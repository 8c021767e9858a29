"""Geometric means, the README's table and the plot, from the results of `latency.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from latency_workloads import COMPILE, DYNAMIC, EAGER, EXPORTED_PEERS, FLOORS, FOR_CPU, OURS

from s2deploy.plot import Bar, Panel, chart, milliseconds

BEGIN, END = "<!-- latency: begin -->", "<!-- latency: end -->"
BETTER = "the better of torch eager and compile"
FLOOR = "the two matrix products alone"
_SHAKY = "measured on a machine that was not idle"


def means(document: dict[str, Any], threads: int = 1, group: str = "block") -> dict[str, tuple[float, float, float]]:
    """Returns for each peer how many times as long as s2deploy it takes: geometric mean, least and greatest.

    For the floor it is the other way round: how many times as long as the products alone s2deploy takes.
    """
    runs = [run for run in document["runs"] if run["threads"] == threads and run["group"] == group]
    found: dict[str, tuple[float, float, float]] = {}
    for peer in (EAGER, COMPILE, BETTER, *EXPORTED_PEERS, DYNAMIC, FOR_CPU, FLOOR):
        ratios = [ratio for run in runs if (ratio := against(run, peer)) is not None]
        if ratios and len(ratios) == len(runs):
            found[peer] = (geometric_mean(ratios), min(ratios), max(ratios))
    return found


def against(run: dict[str, Any], peer: str) -> float | None:
    """Returns the time of a peer as a multiple of ours, for the floor ours as a multiple of its; None without it."""
    medians = {entry["label"]: entry["median_ms"] for entry in run["measurements"]}
    ours = medians[OURS]
    if peer == BETTER:
        eager = [medians[label] for label in (EAGER, COMPILE) if label in medians]
        return min(eager) / ours if eager else None
    if peer == FLOOR:
        products = [medians[label] for label in FLOORS if label in medians]
        return ours / min(products) if products else None
    return medians[peer] / ours if peer in medians else None


def geometric_mean(values: Sequence[float]) -> float:
    """Returns the geometric mean of positive numbers."""
    return math.exp(sum(map(math.log, values)) / len(values))


def readme_table(document: dict[str, Any]) -> list[str]:
    """Returns the table of the README as lines of Markdown."""
    runs = [run for run in document["runs"] if run["threads"] == 1]
    wrong = _wrong(document)
    header = ["one thread, ms", "s2deploy", "dynamic", "eager", "compile", "dynamo", "TorchScript", "products"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for run in runs:
        medians = {entry["label"]: entry["median_ms"] for entry in run["measurements"]}
        exported = [min((medians[name] for name in (peer, f"{peer} + onnxslim") if name in medians), default=None)
                    for peer in EXPORTED_PEERS[::2]]  # fmt: skip
        floor = min((medians[label] for label in FLOORS if label in medians), default=None)
        cells = [medians.get(OURS), medians.get(DYNAMIC), medians.get(EAGER), medians.get(COMPILE), *exported, floor]
        shown = ["-" if value is None else milliseconds(value) for value in cells]
        shown[0] = f"**{shown[0]}**"
        lines.append("| " + " | ".join([run["title"], *shown]) + " |")
    lines += ["", "dynamo and TorchScript are `torch.onnx.export`, the faster of the plain file and onnxslim's, on "]
    lines[-1] += "onnxruntime like ours. Geometric means over the S2 blocks, and the range:"
    lines += ["", "| time as a multiple of s2deploy's | 1 thread | 2 threads |", "|---|---|---|"]
    one, two = means(document, 1), means(document, 2)
    for peer in one:
        title = f"s2deploy's own, as a multiple of {FLOOR}" if peer == FLOOR else peer
        cells = [_range(found.get(peer)) for found in (one, two)]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    versions = document["versions"]
    lines += ["", f"torch {versions['torch']}, onnxruntime {versions['onnxruntime']}, onnxslim {versions['onnxslim']}, "
              f"{document['device']['processor']}, {document['date'][:10]}."]  # fmt: skip
    if document["shaky_runs"].partition(" ")[0] != "0":
        low, high = document["load_average"]
        lines.append(f"Shaky, {_SHAKY}: {document['shaky_runs']} runs, load average {low:.1f} to {high:.1f}.")
    if wrong:
        lines.append(f"Peers whose file gives other outputs: {'; '.join(wrong)}.")
    return lines


def with_table(text: str, table: Sequence[str]) -> str:
    """Returns a text with the table between its markers.

    Raises:
        ValueError: It has no markers.
    """
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    return text[:begin] + "\n\n" + "\n".join(table) + "\n\n" + text[end:]


def svg(document: dict[str, Any]) -> str:
    """Returns the plot: for each model, every candidate's median on one thread."""
    panels = []
    for run in document["runs"]:
        if run["threads"] != 1:
            continue
        entries = {entry["label"]: entry for entry in run["measurements"]}
        floor = min((label for label in FLOORS if label in entries), key=lambda name: entries[name]["median_ms"],
                    default=None)  # fmt: skip
        labels = [OURS, EAGER, COMPILE, *EXPORTED_PEERS, *([floor] if floor else [])]
        bars = tuple(_bar(entries[label], label, floor) for label in labels if label in entries)
        panels.append(Panel(run["title"], bars))
    shaky = "" if document["shaky_runs"].startswith("0 ") else f"; {_SHAKY}"
    subtitle = f"one thread, {document['device']['processor']}, {document['date'][:10]}{shaky}"
    return chart(
        "Latency of a call in ms, and as a multiple of s2deploy's", subtitle, "ms", panels, columns=2, width=1180
    )


def _bar(entry: dict[str, Any], label: str, floor: str | None) -> Bar:
    agreement = entry["agreement"]
    wrong = agreement is not None and not agreement["passed"] and not agreement["undefined"] and label != floor
    kind = "main" if label == OURS else "wrong" if wrong else "bar"
    text = f"{milliseconds(entry['median_ms'])}  {entry['ratio']['value']:.2f}×"
    name = "matrix products alone" if label == floor else label
    return Bar(name, entry["median_ms"], entry["least_ms"], entry["p90_ms"], text, kind)


def _range(found: tuple[float, float, float] | None) -> str:
    return "-" if found is None else f"{found[0]:.2f} × ({found[1]:.2f} to {found[2]:.2f})"


def _wrong(document: dict[str, Any]) -> list[str]:
    return [
        f"{entry['label']} of {run['title']}"
        for run in document["runs"]
        if run["threads"] == 1
        for entry in run["measurements"]
        if entry["label"] not in FLOORS
        and entry["agreement"] is not None
        and not (entry["agreement"]["passed"] or entry["agreement"]["undefined"])
    ]
