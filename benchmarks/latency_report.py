"""Geometric means, the README's table and the plot, from the results of `latency.py`.

On one thread, times are processor times: what a call would take if nothing else ran. A hypervisor's other machines,
which no turn may be without for hours on a shared host, are no part of them. Of two threads they tell less, as threads
wait for each other by computing.
"""

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
_SPREAD = 0.15


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
    medians = times(run)
    ours = medians[OURS]
    if peer == BETTER:
        eager = [medians[label] for label in (EAGER, COMPILE) if label in medians]
        return min(eager) / ours if eager else None
    if peer == FLOOR:
        products = [medians[label] for label in FLOORS if label in medians]
        return ours / min(products) if products else None
    return medians[peer] / ours if peer in medians else None


def times(run: dict[str, Any]) -> dict[str, float]:
    """Returns the median time of a call of each candidate, in ms."""
    key = "cpu_ms" if is_by_processor(run) else "median_ms"
    return {entry["label"]: entry[key] for entry in run["measurements"]}


def is_by_processor(run: dict[str, Any]) -> bool:
    """Whether a run is told in processor time."""
    return run["threads"] == 1 and all(entry["cpu_ms"] is not None for entry in run["measurements"])


def is_shaky(run: dict[str, Any]) -> bool:
    """Whether the times of a run should not be trusted."""
    if not is_by_processor(run):
        return bool(run["doubts"])
    ratios = [entry["cpu_ratio"] for entry in run["measurements"]]
    return any(ratio["high"] - ratio["low"] > _SPREAD * ratio["value"] for ratio in ratios)


def geometric_mean(values: Sequence[float]) -> float:
    """Returns the geometric mean of positive numbers."""
    return math.exp(sum(map(math.log, values)) / len(values))


def readme_table(document: dict[str, Any]) -> list[str]:
    """Returns the table of the README as lines of Markdown."""
    runs = [run for run in document["runs"] if run["threads"] == 1]
    wrong = _wrong(document)
    header = [
        "one thread, ms of processor time",
        "s2deploy",
        "dynamic",
        "eager",
        "compile",
        "dynamo",
        "TorchScript",
        "products",
    ]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for run in runs:
        medians = times(run)
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
        entries, medians = {entry["label"]: entry for entry in run["measurements"]}, times(run)
        floor = min((label for label in FLOORS if label in entries), key=medians.__getitem__, default=None)
        labels = [OURS, EAGER, COMPILE, *EXPORTED_PEERS, *([floor] if floor else [])]
        bars = tuple(_bar(entries[label], medians, floor) for label in labels if label in entries)
        panels.append(Panel(run["title"], bars))
    shaky = "" if document["shaky_runs"].startswith("0 ") else f"; {_SHAKY}"
    subtitle = f"one thread, {document['device']['processor']}, {document['date'][:10]}{shaky}"
    return chart(
        "Processor time of a call in ms, and as a multiple of s2deploy's", subtitle, "ms", panels, columns=2, width=1180
    )


def _bar(entry: dict[str, Any], medians: dict[str, float], floor: str | None) -> Bar:
    agreement, label, ours = entry["agreement"], entry["label"], medians[OURS]
    ratio = entry["ratio"] if entry["cpu_ratio"] is None else entry["cpu_ratio"]
    wrong = agreement is not None and not agreement["passed"] and not agreement["undefined"] and label != floor
    kind = "main" if label == OURS else "wrong" if wrong else "bar"
    text = f"{milliseconds(medians[label])}  {medians[label] / ours:.2f}×"
    name = "matrix products alone" if label == floor else label
    return Bar(name, medians[label], ratio["low"] * ours, ratio["high"] * ours, text, kind)


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
