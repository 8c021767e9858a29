"""Builds engines of the prepared models, runs them through `Session`, and compares them with PyTorch's outputs.

Run by `run.py` in the interpreter that has TensorRT; torch is not needed. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import sys
import tempfile
import traceback
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from cases import Case, read

import s2deploy
from s2deploy import child_process
from s2deploy.errors import S2DeployError, TargetUnavailableError

PRECISIONS: dict[str, dict[str, bool]] = {"fp32": {"tf32": False}, "tf32": {}, "fp16": {"fp16": True}}
LEAST_COSINE = {"fp32": 0.999999, "tf32": 0.9999, "fp16": 0.999}
MOST_DIFFERENCE = {"fp32": 1e-3, "tf32": 0.02, "fp16": 0.05}
"""The largest difference that passes, as a share of the largest magnitude of the output."""
_TIMED = 20


def main() -> None:
    """Prints what was built, how far it is off, and how long it takes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="what prepare.py wrote")
    parser.add_argument("--target", choices=("tensorrt", "rtx"), default="tensorrt")
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="default: all")
    parser.add_argument("--without-cuda-libraries", action="store_true", help="neither cuBLAS nor cuDNN is installed")
    asked = parser.parse_args()
    if asked.without_cuda_libraries:
        build_with_plain_tactics()
    rows = []
    with tempfile.TemporaryDirectory() as plans:
        for case in read(asked.folder):
            for precision in asked.precision or PRECISIONS:
                row = {"case": case.name, "target": asked.target, "precision": precision}
                row |= measured(case, asked.folder, Path(plans) / "model.plan", asked.target, precision)
                rows.append(row)
                print(f"{row['case']} {row['target']} {row['precision']}: {outcome(row)}", file=sys.stderr, flush=True)
    print(json.dumps({"python": platform.python_version(), "versions": dict(versions()), "rows": rows}))


def measured(case: Case, folder: Path, plan: Path, target: str, precision: str) -> dict[str, Any]:
    """Builds an engine and runs it at every shape of the case.

    Args:
        case: The model.
        folder: Where its files are.
        plan: Where the plan goes.
        target: ``tensorrt`` or ``rtx``.
        precision: One of `PRECISIONS`.
    """
    row: dict[str, Any] = {"passed": False}
    try:
        sidecar = s2deploy.build(folder / case.model, plan, target=target, **PRECISIONS[precision]).sidecar
        assert sidecar.proof is not None
        row |= {
            "plan_bytes": sidecar.plan.size_bytes,
            "build_seconds": sidecar.build_seconds,
            "tensorrt": sidecar.versions,
            "device": None if sidecar.device is None else f"{sidecar.device.name} ({sidecar.device.capability})",
            "proof": {"read_from": sidecar.proof.read_from, "computed": sidecar.proof.computed},
        }
        with opened(plan, target, row) as session:
            row["backend"] = session.backend
            row["shapes"] = [ran(session, folder / case.feed(index)) for index in range(len(case.shapes))]
        with opened(plan, target, row, cuda_graphs=True) as session:
            row["cuda_graphs_differ_by"] = graphs_differ_by(session, folder / case.feed(0))
        row["passed"] = all(fits(shape, precision) for shape in row["shapes"])
    except S2DeployError as error:
        row |= {"error": error.message, "hint": error.hint}
    except Exception as error:  # a fault of ours shall not cost what the other rows find
        row |= {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    return row


def opened(plan: Path, target: str, row: dict[str, Any], **options: Any) -> Any:
    """Loads a plan; one of RTX whose sidecar names other GPUs is loaded unchecked, to see what RTX says itself."""
    try:
        return s2deploy.load(plan, **options)
    except TargetUnavailableError as error:
        if target != "rtx" or "compute capability" not in error.message:
            raise
        row["refused_by_sidecar"] = error.message
        unchecked = shutil.copyfile(plan, plan.with_name("unchecked.plan"))
        return s2deploy.load(unchecked, unchecked="rtx", **options)


def ran(session: Any, feed: Path) -> dict[str, Any]:
    """Runs one shape, compares every output with PyTorch's and times the kernels."""
    x, wanted = stored(feed)
    given = session(x=x)
    times = [session.timed({"x": x})[1] for _ in range(_TIMED)] if hasattr(session, "timed") else []
    return {
        "shape": list(x.shape),
        "outputs": {name: difference(wanted[name], given[name]) for name in wanted},
        "latency_ms": statistics.median(times) if times else None,
    }


def graphs_differ_by(session: Any, feed: Path) -> float:
    """Returns how far the third call of a CUDA graph is from the first, which captures it."""
    x, wanted = stored(feed)
    first, _, third = (session(x=x) for _ in range(3))
    return max(float(np.abs(first[name] - third[name]).max(initial=0.0)) for name in wanted)


def stored(feed: Path) -> tuple[Any, dict[str, Any]]:
    """Returns the input and PyTorch's outputs."""
    with np.load(feed) as archive:
        return archive["in.x"], {name[4:]: archive[name] for name in archive.files if name.startswith("out.")}


def difference(wanted: Any, given: Any) -> dict[str, Any]:
    """Returns how far an output is from PyTorch's; what is not finite is counted."""
    exact, other = wanted.astype(np.float64).ravel(), np.asarray(given).astype(np.float64).ravel()
    finite = np.isfinite(other)
    norms = np.linalg.norm(exact[finite]) * np.linalg.norm(other[finite])
    return {
        "cosine": float(exact[finite] @ other[finite] / norms) if norms else None,
        "worst": float(np.abs(exact - other)[finite].max(initial=0.0)),
        "largest": float(np.abs(exact).max(initial=0.0)),
        "not_finite": int(np.count_nonzero(~finite)),
    }


def fits(shape: dict[str, Any], precision: str) -> bool:
    """Whether all outputs of a shape are within the tolerance of a precision."""
    return all(
        not output["not_finite"]
        and (output["cosine"] or 0.0) >= LEAST_COSINE[precision]
        and output["worst"] <= MOST_DIFFERENCE[precision] * output["largest"]
        for output in shape["outputs"].values()
    )


def outcome(row: dict[str, Any]) -> str:
    """Returns a row's result in a word or two."""
    return str(row.get("error") or ("passed" if row["passed"] else "differs"))


def versions() -> Iterator[tuple[str, str]]:
    """Yields the packages that are there, with their versions."""
    for name in ("s2deploy", "tensorrt", "tensorrt_rtx", "polygraphy", "onnx", "onnxruntime", "numpy"):
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def build_with_plain_tactics() -> None:
    """Has plans built from now on use neither cuBLAS nor cuDNN."""
    start = child_process.start

    def plainly(module: str, *arguments: Any, **options: Any) -> Any:
        return start("plain_tactics" if module == "s2deploy.engine.child" else module, *arguments, **options)

    child_process.start = plainly


if __name__ == "__main__":
    main()
