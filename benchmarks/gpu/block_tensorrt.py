"""Times whole blocks on TensorRT: one engine for each way of writing them, all in turns, at every batch.

Run by `gpu_blocks.py` in the interpreter that has TensorRT; torch is not needed. Prints one JSON document. An engine
has an optimization profile for each batch. Times are of the GPU's work, launched as a CUDA graph.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from block_cases import EXAMPLE, PRECISIONS, WAYS, file_of, of_batch
from cases import Case, read
from tensorrt_side import PRECISIONS as BUILDS
from tensorrt_side import build_with_plain_tactics, difference, fits, stored, versions

import s2deploy
from s2deploy.benchmark import Turn
from s2deploy.benchmark.rounds import interleave
from s2deploy.benchmark.statistics import percentile
from s2deploy.errors import S2DeployError

_SECONDS = 3.0


class Running:
    """A loaded plan with an input, as `interleave` takes it."""

    def __init__(self, session: Any, feed: dict[str, Any]) -> None:
        self._session, self._feed = session, feed

    def turn(self, calls: int, warm: int) -> Turn:
        """Runs some calls that are not measured, then the measured ones."""
        for _ in range(warm):
            self._session.timed(self._feed)
        times = tuple(self._session.timed(self._feed)[1] for _ in range(calls))
        return Turn(times, times)


def main() -> None:
    """Prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="what was prepared")
    parser.add_argument("--library", type=Path, required=True, help="the library of the s2deploy plugins")
    parser.add_argument("--without-cuda-libraries", action="store_true", help="neither cuBLAS nor cuDNN is installed")
    parser.add_argument("--once", type=Path, metavar="PLAN", help="run this plan once and measure nothing")
    parser.add_argument("--example-plan", type=Path, help="build the example model with kernels to this plan, too")
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="default: both")
    asked = parser.parse_args()
    if asked.without_cuda_libraries:
        build_with_plain_tactics()
    if asked.once is not None:
        run_once(asked.once)
        return
    rows: list[dict[str, Any]] = []
    plans = asked.folder / "plans"
    plans.mkdir(exist_ok=True)
    for case in read(asked.folder):
        for precision in asked.precision or PRECISIONS:
            rows += compared(case, precision, asked.folder, plans, asked.library)
    document: dict[str, Any] = {"versions": dict(versions()), "rows": rows}
    if asked.example_plan is not None:
        document["example"] = example(asked.folder, asked.example_plan, asked.library)
    print(json.dumps(document))


def compared(case: Case, precision: str, folder: Path, plans: Path, library: Path) -> Iterator[dict[str, Any]]:
    """Yields a row for each way and batch.

    Args:
        case: The block.
        precision: ``fp32`` or ``fp16``.
        folder: What was prepared.
        plans: Where plans go.
        library: The library of the plugins.
    """
    built: dict[str, Path] = {}
    for way in WAYS:
        plan = plans / f"{case.name}.{way}.{precision}.plan"
        try:
            build(case, way, precision, folder, plan, library)
        except Exception as error:  # one way that fails shall not cost what the others tell
            yield failed(case, way, precision, error)
        else:
            built[way] = plan
    with ExitStack() as stack:
        sessions = {way: stack.enter_context(s2deploy.load(plan, cuda_graphs=True)) for way, plan in built.items()}
        samples, results = stored(folder / case.feed(0))
        for shape in case.shapes:
            x, wanted = of_batch(samples, shape[0]), of_batch(results["y"], shape[0])
            outputs = {way: difference(wanted, first(session, x)) for way, session in sessions.items()}
            times = interleave([Running(one, {"x": x}) for one in sessions.values()], rounds=None, seconds=_SECONDS)
            for way, one in zip(sessions, times, strict=True):
                yield {
                    "block": case.name, "way": way, "precision": precision, "batch": shape[0],
                    "median_ms": percentile(one.device_ms, 0.5), "p90_ms": percentile(one.device_ms, 0.9),
                    "output": outputs[way], "passed": fits({"outputs": {"y": outputs[way]}}, precision),
                }  # fmt: skip
                print(f"{case.name} {precision} batch {shape[0]} {way}", file=sys.stderr, flush=True)


def build(case: Case, way: str, precision: str, folder: Path, plan: Path, library: Path) -> None:
    """Builds a block for every batch; with kernels and nothing else where the way is the plugins'."""
    profiles = [f"x:{','.join(map(str, shape))}" for shape in case.shapes]
    plugins = ["always", library] if way == "plugin" else []
    s2deploy.build(
        folder / file_of(case, way), plan, target="tensorrt", profiles=profiles, plugins=plugins, **BUILDS[precision]
    )


def first(session: Any, x: Any) -> Any:
    """Returns the output of a second call, which is the first that comes out of a CUDA graph."""
    session.run({"x": x})
    return next(iter(session.run({"x": x}).values()))


def failed(case: Case, way: str, precision: str, error: Exception) -> dict[str, Any]:
    """Returns the row of what could not be built."""
    said = described(error)
    print(f"{case.name} {precision} {way}: {said}", file=sys.stderr, flush=True)
    row = {"block": case.name, "way": way, "precision": precision, "batch": None, "passed": False}
    return row | {"error": said, "traceback": traceback.format_exc()}


def described(error: Exception) -> str:
    """Returns an error in a line."""
    return error.message if isinstance(error, S2DeployError) else f"{type(error).__name__}: {error}"


def example(folder: Path, plan: Path, library: Path) -> dict[str, Any]:
    """Builds the example model with kernels, for the pipelines in C++ and Python."""
    try:
        result = s2deploy.build(folder / EXAMPLE, plan, target="tensorrt", plugins=["always", library])
    except Exception as error:
        return {"passed": False, "error": described(error)}
    kernels = result.sidecar.kernels
    return {"passed": True, "operators": {} if kernels is None else kernels.operators}


def run_once(plan: Path) -> None:
    """Runs a plan at the typical sizes of its first profile."""
    with s2deploy.load(plan) as session:
        session.run({spec.name: np.ones(spec.shape({}), np.float32) for spec in session.specs})


if __name__ == "__main__":
    main()
