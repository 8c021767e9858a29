"""Tabulates what every rewrite pass does to the S2 block: nodes, latency, and what TensorRT-RTX makes of it.

Run it with ``python benchmarks/passes.py``. The passes of `DEFAULT_PASSES` are switched on one after another; a row is
the graph after that many of them, what nothing reads any more included. All different graphs run in turn on
onnxruntime, one thread, in one interleaved run; each is also given to TensorRT-RTX, which builds a plan without a GPU.
Two sources are tabulated: the graph that s2deploy makes of the module, and what torch.onnx's TorchScript exporter makes
of it; of a large map and of a small one, unless ``--channels`` and ``--size`` name one. The result goes to
``benchmarks/results/passes.json`` and, as Markdown, to stdout.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import onnx_ir as ir
import torch
from latency_workloads import BLOCKS

import s2deploy
from s2deploy import onnx_file
from s2deploy.exporter import capture, to_onnx
from s2deploy.model import load
from s2deploy.rewrite import DEFAULT_PASSES, count_nodes, count_scatters, rewrite
from s2deploy.specs import parse_inputs

HERE = Path(__file__).resolve().parent
PACKAGES = ("s2deploy", "torch", "onnx", "onnxruntime", "tensorrt_rtx")
CAPABILITY = "8.6"
SIZES = ((96, 56), (384, 14))
"""Channels, height and width."""


@dataclass(frozen=True)
class Row:
    """The graph after some of the passes.

    Attributes:
        source: Where the graph comes from.
        name: The last pass that was switched on; ``none`` for the source itself.
        changed: Whether it changed the graph.
        nodes: Nodes that are not Constant.
        scatters: Scatter nodes among them.
        median_ms: Its latency on onnxruntime, one thread.
        ratio: Its latency as a multiple of that of the last row.
        plan_bytes: The size of its TensorRT-RTX plan.
        layers: Layers of the network that TensorRT's parser makes of it.
    """

    source: str
    name: str
    changed: bool
    nodes: int
    scatters: int
    median_ms: float
    ratio: float
    plan_bytes: int
    layers: int


def main() -> None:
    """Measures the blocks and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--channels", type=int, help="of one block, with --size")
    parser.add_argument("--size", type=int, help="its height and width")
    parser.add_argument("--seconds", type=float, help="how long to measure each source")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "passes.json")
    asked = parser.parse_args()
    if (asked.channels is None) != (asked.size is None):
        parser.error("give --channels and --size, or neither")
    load_average = os.getloadavg()[0]
    sizes = SIZES if asked.size is None else ((asked.channels, asked.size),)
    blocks = [tabulated((1, channels, size, size), asked.seconds) for channels, size in sizes]
    document = {
        "benchmark": "passes",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "versions": {package: metadata.version(package) for package in PACKAGES},
        "compute_capability": CAPABILITY,
        "load_average": load_average,
        "blocks": blocks,
    }
    asked.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def tabulated(shape: tuple[int, ...], seconds: float | None) -> dict[str, object]:
    """Measures both sources of one block, and prints the tables."""
    block = f"S2Attention, {shape[1]} channels, {shape[2]} x {shape[3]}"
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        for source, model in sources(shape, Path(name)):
            found = measured(source, model, shape, Path(name), seconds)
            print("\n".join(["", f"{block}, {source}:", "", *table(found)]), flush=True)
            rows += found
    return {"block": block, "rows": [asdict(row) for row in rows]}


def sources(shape: tuple[int, ...], folder: Path) -> Iterator[tuple[str, ir.Model]]:
    """Yields graphs that no pass has seen yet."""
    module = load(f"{BLOCKS}:S2Attention", kwargs={"channels": shape[1]}).module
    assert module is not None
    specs = parse_inputs([f"x:{','.join(map(str, shape))}"])
    yield "s2deploy", to_onnx(capture(module, specs).program, specs, opset=20)
    path = folder / "script.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.zeros(shape),), str(path), dynamo=False, input_names=["x"])
    yield "torch.onnx TorchScript", onnx_file.read(path)


def measured(source: str, model: ir.Model, shape: tuple[int, ...], folder: Path, seconds: float | None) -> list[Row]:
    """Returns a row for each number of passes."""
    steps = [("none", count_nodes(model), count_scatters(model), _written(model, folder / f"{source}-0.onnx"))]
    for number, run in enumerate(DEFAULT_PASSES, start=1):
        changed = model.clone()
        rewrite(changed, passes=DEFAULT_PASSES[:number])
        path = _written(changed, folder / f"{source}-{number}.onnx")
        same = path.read_bytes() == steps[-1][3].read_bytes()
        steps.append((run.__name__, count_nodes(changed), count_scatters(changed), steps[-1][3] if same else path))
    files = list(dict.fromkeys(path for *_, path in steps))
    result = s2deploy.bench(
        {path.name: path for path in reversed(files)},
        inputs=[f"x:{','.join(map(str, shape))}"],
        threads=1,
        seconds=seconds,
    )
    times = {entry.label: entry for entry in result.measurements}
    engines = {path: built(path) for path in files}
    return [
        Row(
            source,
            name,
            number == 0 or path != steps[number - 1][3],
            nodes,
            scatters,
            times[path.name].median_ms,
            times[path.name].ratio.value,
            *engines[path],
        )
        for number, (name, nodes, scatters, path) in enumerate(steps)
    ]


def built(path: Path) -> tuple[int, int]:
    """Returns the size of a plan in bytes, and the number of layers that TensorRT-RTX's parser makes."""
    import tensorrt_rtx

    result = s2deploy.build(path, path.with_suffix(".plan"), target="rtx", capabilities=[CAPABILITY])
    logger = tensorrt_rtx.Logger(tensorrt_rtx.Logger.ERROR)
    network = tensorrt_rtx.Builder(logger).create_network(0)
    parser = tensorrt_rtx.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        raise RuntimeError(f"TensorRT-RTX cannot parse {path.name}: {parser.get_error(0).desc()}")
    return result.sidecar.plan.size_bytes, network.num_layers


def table(rows: Sequence[Row]) -> list[str]:
    """Returns rows as a Markdown table; a pass that changed nothing has dashes."""
    lines = [
        "| after the pass | nodes | scatters | ms | ratio | plan, kB | parser layers |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            row.nodes,
            row.scatters,
            f"{row.median_ms:.3f}",
            f"{row.ratio:.2f}",
            row.plan_bytes // 1000,
            row.layers,
        ]
        shown = map(str, cells) if row.changed else ["-"] * len(cells)
        lines.append(f"| {row.name} | {' | '.join(shown)} |")
    return lines


def _written(model: ir.Model, path: Path) -> Path:
    onnx_file.write(model.clone(), path)
    return path


if __name__ == "__main__":
    main()
