"""Exports a model the ways its user could; `latency.py` runs each in a process of its own.

Every peer gets what it needs to be at its best: example inputs of the measured size, the opset it chooses by default,
constant folding where it has it. Both of PyTorch's exporters compute in-place operations under clone semantics.

Run as ``latency_exports.py KIND SOURCE KWARGS SHAPE OUTPUT``, KIND being ``dynamo``, ``script`` or ``slim`` (then
SOURCE is the ONNX file to simplify).
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

from latency_workloads import BLOCKS, DYNAMIC, DYNAMO, FLOORS, FOR_CPU, OURS, RUNTIMES, SCRIPT, SLIM, Workload

import s2deploy
from s2deploy.errors import S2DeployError

_LIMIT_SECONDS = 900


def exported(workload: Workload, folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Exports a workload every way, keeping what is there from before.

    Args:
        workload: What to export.
        folder: Where files of this workload are kept.

    Returns:
        The files by label, and why others are missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for label, size in ((OURS, workload.fixed), (DYNAMIC, workload.dynamic), (FOR_CPU, workload.fixed)):
        if not size:
            continue
        target, stamp = (folder / f"{_stem(label)}{suffix}" for suffix in (".onnx", ".json"))
        wanted = {"digest": sha256_of_sources(), "size": size}
        options: dict[str, Any] = {"kwargs": workload.kwargs, "target_runtime": RUNTIMES[label]}
        if _is_there(target, stamp, wanted):
            files[label] = target
            continue
        stamp.unlink(missing_ok=True)
        try:
            # not proven here: the benchmark compares all outputs, and sees what is wrong
            s2deploy.export(workload.source, target, inputs=[size], validate=False, **options)
            stamp.write_text(json.dumps({"wanted": wanted}), encoding="utf-8")
            files[label] = target
        except S2DeployError as error:
            missing[label] = error.message.splitlines()[0]
    for label, kind in ((DYNAMO, "dynamo"), (SCRIPT, "script")):
        target = folder / f"{_stem(label)}.onnx"
        source = [workload.source, json.dumps(workload.kwargs), json.dumps(workload.shape)]
        _keep(label, _peer(kind, source, target), target, files, missing)
        if label in files:
            slim = folder / f"{_stem(label + SLIM)}.onnx"
            _keep(label + SLIM, _peer("slim", [str(target), "{}", "[]"], slim), slim, files, missing)
    if workload.group == "block":
        for label, name in FLOORS.items():
            if name.endswith(".onnx"):
                target = folder / name
                source = [f"{BLOCKS}:{target.stem}", json.dumps(workload.kwargs), json.dumps(workload.shape)]
                _keep(label, _peer("script", source, target), target, files, missing)
    return files, missing


def sha256_of_sources() -> str:
    """Returns a digest of everything that decides a result of ours: the package, the models, the versions."""
    digest = hashlib.sha256()
    root = Path(s2deploy.__file__).parent
    for path in [*sorted(root.rglob("*.py")), BLOCKS, Path(__file__)]:
        digest.update(path.read_bytes())
    for name in ("torch", "onnxruntime", "onnx"):
        digest.update(metadata.version(name).encode())
    return digest.hexdigest()


def _is_there(target: Path, stamp: Path, wanted: dict[str, object]) -> bool:
    """Whether a file was made from the same before; what could not be finished has no stamp."""
    if not (target.is_file() and stamp.is_file()):
        return False
    same: bool = json.loads(stamp.read_text(encoding="utf-8"))["wanted"] == wanted
    return same


def _keep(label: str, problem: str | None, target: Path, files: dict[str, Path], missing: dict[str, str]) -> None:
    if problem is None:
        files[label] = target
    else:
        missing[label] = problem


def _stem(label: str) -> str:
    return label.replace(".", "_").replace(" + ", "_").replace(", ", "_").replace(" ", "_")


def _peer(kind: str, arguments: list[str], target: Path) -> str | None:
    """Runs a peer's export unless its file is there from before, and returns why there is none."""
    stamp = target.with_suffix(".json")
    versions = {name: metadata.version(name) for name in ("torch", "onnx", "onnxscript", "onnxslim")}
    wanted = {"arguments": arguments, "versions": versions, "blocks": hashlib.sha256(BLOCKS.read_bytes()).hexdigest()}
    if _is_there(target, stamp, wanted):
        return None
    stamp.unlink(missing_ok=True)
    target.unlink(missing_ok=True)
    command = [sys.executable, __file__, kind, *arguments, str(target)]
    started = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"did not end within {_LIMIT_SECONDS} s"
    if done.returncode or not target.is_file():
        return (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]
    seconds = round(time.perf_counter() - started, 1)
    stamp.write_text(json.dumps({"wanted": wanted, "seconds": seconds}, indent=2), encoding="utf-8")
    return None


def _main() -> None:
    kind, source, kwargs, shape, output = sys.argv[1:]
    warnings.simplefilter("ignore")
    if kind == "slim":
        import onnx
        import onnxslim

        onnx.save(onnxslim.slim(onnx.load(source)), output)
        return
    import torch

    from s2deploy.model import load

    module = load(source, kwargs=json.loads(kwargs)).module
    assert module is not None
    example = torch.randn(*json.loads(shape), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.onnx.export(module, (example,), output, dynamo=kind == "dynamo", input_names=["x"], external_data=False)


if __name__ == "__main__":
    _main()
