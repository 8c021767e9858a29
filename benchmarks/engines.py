"""Tabulates what TensorRT-RTX builds without a GPU: every precision for every compute capability, or the refusal.

Run it with ``python benchmarks/engines.py MODEL.onnx...``. Each build is `s2deploy.build` as a user calls it: the types
of all matrix products and convolutions are read back, and a build with one wider than asked for fails. int8 is
calibrated on random inputs, which says nothing of its accuracy. The table goes to stdout and the rows, as JSON, to
``benchmarks/results/engines.json``, or where ``--output`` says.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import s2deploy
from s2deploy import onnx_file
from s2deploy.engine import KNOWN_CAPABILITIES
from s2deploy.engine.profiles import exported_ranges
from s2deploy.errors import S2DeployError
from s2deploy.precision.random_feeds import random_feeds
from s2deploy.report import format_bytes, format_table

HERE = Path(__file__).resolve().parent
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
PACKAGES = ("s2deploy", "tensorrt_rtx", "polygraphy", "onnx", "onnxruntime")


def main() -> None:
    """Builds everything and prints the table."""
    capabilities = [f"{major}.{minor}" for major, minor in KNOWN_CAPABILITIES]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.onnx")
    parser.add_argument("--capability", action="append", choices=capabilities, help="default: all")
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="default: all")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "engines.json")
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for model in asked.models:
            data = calibration(model, Path(folder))
            for precision in asked.precision or PRECISIONS:
                for capability in asked.capability or capabilities:
                    row = built(model, precision, capability, data, Path(folder) / "model.plan")
                    rows.append({"model": model.name, "precision": precision, "capability": capability} | row)
                    print(" ".join(cells(rows[-1])), flush=True)
    header = ("model", "precision", "capability", "plan", "build", "products read back")
    print("", *format_table([header, *map(cells, rows)]), sep="\n")
    versions = {name: metadata.version(name) for name in PACKAGES}
    document = {"machine": platform.processor() or platform.machine(), "versions": versions, "rows": rows}
    asked.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def built(model: Path, precision: str, capability: str, data: Path, plan: Path) -> dict[str, Any]:
    """Builds one plan and returns what it is, or why there is none."""
    wanted: dict[str, Any] = {} if precision == "fp32" else {precision: True}
    if precision == "int8":
        wanted["calibration"] = data
    try:
        sidecar = s2deploy.build(model, plan, target="rtx", capabilities=[capability], **wanted).sidecar
    except S2DeployError as error:
        return {"refused": error.message.splitlines()[0]}
    assert sidecar.proof is not None
    return {"bytes": sidecar.plan.size_bytes, "seconds": sidecar.build_seconds, "computed": sidecar.proof.computed}


def calibration(model: Path, folder: Path) -> Path:
    """Writes one random feed of a model and returns its path."""
    graph = onnx_file.read(model)
    path = folder / f"{model.stem}.npz"
    np.savez(path, **random_feeds(graph, exported_ranges(graph))[0])
    return path


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Returns a row as text."""
    head = (row["model"], row["precision"], row["capability"])
    if "refused" in row:
        return (*head, "-", "-", row["refused"])
    computed = ", ".join(f"{count} {dtype}" for dtype, count in row["computed"].items())
    return (*head, format_bytes(row["bytes"]), f"{row['seconds']:.1f} s", computed)


if __name__ == "__main__":
    main()
