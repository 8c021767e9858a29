"""Tabulates what TensorRT-RTX builds without a GPU: every precision for every compute capability, or the refusal.

Run it with ``python benchmarks/engines.py``; it exports the example model and an attention block by itself, or takes
the files it is given. Each build is `s2deploy.build` as a user calls it: the types of all matrix products and
convolutions are read back, and a build with one wider than asked for fails. int8 is calibrated on random inputs, which
says nothing of its accuracy. The rows go to ``benchmarks/results/engines.json`` and the table to ``engines.md`` beside
it, or where ``--output`` says.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import tempfile
from collections.abc import Iterable, Iterator
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
from s2deploy.report import format_bytes

HERE = Path(__file__).resolve().parent
MODELS: dict[str, tuple[str, dict[str, int], str]] = {
    "s2mlpv2_small_7": (f"{HERE.parent / 'examples' / 's2mlpv2.py'}:s2mlpv2_small_7", {}, "x:batch=1..2..4,3,224,224"),
    "s2attention": (f"{HERE / 'blocks.py'}:S2Attention", {"channels": 512}, "x:batch=1..2..4,512,14,14"),
}
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
PACKAGES = ("s2deploy", "tensorrt_rtx", "polygraphy", "onnx", "onnxruntime", "torch")


def main() -> None:
    """Builds everything and writes the table."""
    capabilities = [f"{major}.{minor}" for major, minor in KNOWN_CAPABILITIES]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL.onnx", help="default: export two and build them")
    parser.add_argument("--capability", action="append", choices=capabilities, help="default: all")
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="default: all")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "engines.json")
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for model in asked.models or exported(Path(folder)):
            data = calibration(model, Path(folder))
            for precision in asked.precision or PRECISIONS:
                for capability in asked.capability or capabilities:
                    row = built(model, precision, capability, data, Path(folder) / "model.plan")
                    rows.append({"model": model.stem, "precision": precision, "capability": capability} | row)
                    print(json.dumps(rows[-1]), flush=True)
    document = {
        "benchmark": "engines",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "device": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "gpu": None},
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "rows": rows,
    }
    asked.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    text = "\n".join(table(rows)) + "\n"
    asked.output.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text, end="")


def exported(folder: Path) -> Iterator[Path]:
    """Yields the default models as ONNX files."""
    for name, (source, arguments, spec) in MODELS.items():
        output = folder / f"{name}.onnx"
        s2deploy.export(source, output, inputs=[spec], kwargs=arguments)
        yield output


def calibration(model: Path, folder: Path) -> Path:
    """Writes one random feed of a model and returns its path."""
    graph = onnx_file.read(model)
    path = folder / f"{model.stem}.npz"
    np.savez(path, **random_feeds(graph, exported_ranges(graph))[0])
    return path


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
    return {
        "bytes": sidecar.plan.size_bytes,
        "seconds": sidecar.build_seconds,
        "read_from": sidecar.proof.read_from,
        "computed": sidecar.proof.computed,
    }


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yields Markdown: a row for each model and precision, a column for each capability, the refusals below."""
    capabilities = list(dict.fromkeys(row["capability"] for row in rows))
    refusals = list(dict.fromkeys(row["refused"] for row in rows if "refused" in row))
    yield "Size of the plan and time of the builder by compute capability; written by `python benchmarks/engines.py`."
    yield "Times depend on what else the machine did; the refusals are TensorRT-RTX's own, foreseen before it is asked."
    yield ""
    yield f"| model | precision | products, as read back | {' | '.join(capabilities)} |"
    yield "|---|---|---|" + "---|" * len(capabilities)
    for model, precision in dict.fromkeys((row["model"], row["precision"]) for row in rows):
        same = [row for row in rows if (row["model"], row["precision"]) == (model, precision)]
        cells = (_cell(row, refusals) for row in same)
        yield f"| {model} | {precision} | {_proof(same)} | {' | '.join(cells)} |"
    yield ""
    yield from (f"* Refused {number}: {reason}." for number, reason in enumerate(refusals, start=1))


def _proof(rows: Iterable[dict[str, Any]]) -> str:
    proofs = (row["computed"] for row in rows if "computed" in row)
    texts = (", ".join(f"{count} {dtype}" for dtype, count in proof.items()) for proof in proofs)
    return "; ".join(dict.fromkeys(texts)) or "-"


def _cell(row: dict[str, Any], refusals: list[str]) -> str:
    if "refused" in row:
        return f"refused {refusals.index(row['refused']) + 1}"
    return f"{format_bytes(row['bytes'])}, {row['seconds']:.1f} s"


if __name__ == "__main__":
    main()
