"""Says what keeps an S2 block from taking as long as its two matrix products alone.

Run it with ``python benchmarks/limits.py`` on an idle machine. Each block of `latency_workloads.py` is exported and
runs on one thread in turn with its two products alone, in every form of them. The profile of onnxruntime tells where
the time goes. What operators other than products read and write takes, at the speed at which a tensor of the same size
is copied, about as long as they do take: moving less is what would help, not faster operators. Medians of all rounds.
The result goes to ``benchmarks/results/limits.md`` and stdout.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import platform
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from latency_workloads import BLOCKS, FLOORS, OURS, RUNTIMES, WORKLOADS, Workload

import s2deploy

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "limits.md"
PARTS = {
    "products": {"Conv", "MatMul", "Gemm", "FusedMatMul", "FusedConv"},
    "reordering": {"ReorderInput", "ReorderOutput", "Transpose"},
    "shifts": {"Pad", "Slice", "Concat", "Split"},
    "arithmetic": {"Mul", "Add", "Sum"},
    "sums": {"ReduceSum", "ReduceMean"},
}
"""Operators by what they are there for; the rest belongs to the attention."""
SMALL = 4096
"""Products and sums of fewer elements belong to the attention, too."""


def main() -> None:
    """Measures all blocks and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="for each block")
    seconds = parser.parse_args().seconds
    names = [*PARTS, "attention"]
    header = [
        "block",
        "ours, ms",
        "products alone, ms",
        "ratio",
        *names,
        "moved, MB",
        "at copy speed, ms",
        "ratio at copy speed",
    ]
    lines = [f"# What an S2 block takes beside its products\n\nMade by `python benchmarks/limits.py`, {_machine()}.\n"]
    lines += ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    with tempfile.TemporaryDirectory() as folder:
        for workload in WORKLOADS:
            if workload.group == "block":
                cells = measured(workload, Path(folder) / workload.name, seconds)
                lines.append("| " + " | ".join([workload.title, *cells]) + " |")
                print(lines[-1], flush=True)
    lines.append(
        "\nColumns from products to attention are milliseconds by onnxruntime's profile, which measures each operator "
        "and so adds up to more than a run. Moved is what operators other than large products read and write; the last "
        "column is the ratio if they ran as fast as a copy and nothing was reordered, and no bound: caches are faster."
    )
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def measured(workload: Workload, folder: Path, seconds: float) -> list[str]:
    """Returns the cells of one block."""
    folder.mkdir()
    sources = {OURS: workload.source} | {
        label: f"{BLOCKS}:{name.removesuffix('.onnx')}" for label, name in FLOORS.items() if name.endswith(".onnx")
    }
    files = {label: folder / f"{number}.onnx" for number, label in enumerate(sources)}
    for label, source in sources.items():
        options: dict[str, Any] = {"kwargs": workload.kwargs, "target_runtime": RUNTIMES[OURS]}
        s2deploy.export(source, files[label], inputs=[workload.fixed], validate=False, **options)
    shape = workload.shape
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    runs = {label: runner(path, x) for label, path in files.items()}
    block, target = x.reshape(-1).copy(), np.empty(x.size, np.float32)
    runs["copy"] = lambda: np.copyto(target, block)
    times = interleaved(runs, seconds)
    ours, copy = times[OURS], times["copy"]
    floor = min(milliseconds for label, milliseconds in times.items() if label not in (OURS, "copy"))
    parts = profiled(files[OURS], x, Path(folder))
    moved = bytes_moved(files[OURS])
    least = copy * moved / (2 * x.nbytes)
    shown = [f"{parts[name]:.2f}" for name in [*PARTS, "attention"]]
    ratios = [f"{ours / floor:.2f}", f"{moved / 1e6:.1f}", f"{least:.2f}", f"{(floor + least) / floor:.2f}"]
    return [f"{ours:.2f}", f"{floor:.2f}", ratios[0], *shown, *ratios[1:]]


def runner(path: Path, x: np.ndarray, options: onnxruntime.SessionOptions | None = None) -> Callable[[], object]:
    """Returns a function that runs a file on one thread."""
    options = options or onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x}
    if options.enable_profiling:
        return lambda: ([session.run(None, feed) for _ in range(50)], session.end_profiling())[1]
    return lambda: session.run(None, feed)


def interleaved(runs: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Returns the median time of each run in milliseconds, all of them in turn."""
    times: dict[str, list[float]] = defaultdict(list)
    for run in runs.values():
        run()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["copy"]) < 20:
        for label, run in runs.items():
            start = time.perf_counter()
            run()
            times[label].append((time.perf_counter() - start) * 1e3)
    return {label: statistics.median(values) for label, values in times.items()}


def profiled(path: Path, x: np.ndarray, folder: Path) -> Counter[str]:
    """Returns the milliseconds that each kind of operator takes, by onnxruntime's profile."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(folder / "profile")
    events = json.loads(Path(str(runner(path, x, options)())).read_text(encoding="utf-8"))
    times: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("kernel_time"):
            sizes = [math.prod(size) for given in event["args"]["output_type_shape"] for size in given.values()]
            times[event["args"]["op_name"], event["name"], max(sizes, default=0)].append(event["dur"] / 1e3)
    found: Counter[str] = Counter()
    for (op_type, _, size), values in times.items():
        part = next((name for name, members in PARTS.items() if op_type in members), "attention")
        is_small = size < SMALL and part != "sums" and op_type != "MatMul"
        found["attention" if is_small else part] += statistics.median(values)
    return found


def bytes_moved(path: Path) -> int:
    """Returns what operators other than large products read and write."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    graph = model.graph
    sizes = {
        value.name: math.prod(dim.dim_value for dim in value.type.tensor_type.shape.dim) * 4
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    moved = 0
    for node in graph.node:
        if node.op_type in ("Conv", "Reshape", "Squeeze", "Unsqueeze"):
            continue
        written = sum(sizes.get(name, 0) for name in node.output)
        read = sum(sizes.get(name, 0) for name in node.input)
        moved += written + (min(read, written) if node.op_type in ("Pad", "Slice") else read)
    return moved


def _machine() -> str:
    versions = f"onnxruntime {metadata.version('onnxruntime')}, s2deploy {metadata.version('s2deploy')}"
    today = datetime.datetime.now(tz=datetime.timezone.utc).date()
    name = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return f"{name}, one thread, {versions}, for `--target-runtime {RUNTIMES[OURS]}`, {today}"


if __name__ == "__main__":
    main()
