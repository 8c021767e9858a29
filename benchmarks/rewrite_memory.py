"""Measures time and memory of ``s2deploy export`` on a large graph and on large weights, and fails beyond the limits.

Run it with ``python benchmarks/rewrite_memory.py``. Two models are made: one of 20,000 nodes, slice assignments as
PyTorch's exporter writes them among convolutions, and one of 1.5 GB of weights in external data, read and exported as
whole processes. The processes are watched through ``/proc``: the peak of the resident memory of the command, of the
part of it that is anonymous (not mapped from files, which the system takes back when it needs the room), and of the
process that runs the proof. The limit is on the resident memory of the command, mapped files included, at most 3
times the model + 400 MB; large weights must not be held twice as anonymous memory either. The result goes to
``benchmarks/results/`` as JSON; the exit code is 1 beyond a limit.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parent
PACKAGES = ("s2deploy", "numpy", "onnx", "onnx_ir", "onnxruntime")
MOST_SECONDS = 60.0
MOST_TIMES_MODEL = 3
MOST_BYTES_BESIDE = 400_000_000
_POLL_SECONDS = 0.02


@dataclass
class Peak:
    """The largest memory one process had, in bytes."""

    resident: int = 0
    anonymous: int = 0


def main() -> None:
    """Exports both models, prints what it took, and ends with 1 beyond a limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=20_000, help="nodes of the large graph (default 20000)")
    parser.add_argument("--gigabytes", type=float, default=1.5, help="weights of the other model (default 1.5)")
    parser.add_argument("--folder", type=Path, help="where models are made; the system's temporary folder by default")
    arguments = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        print(f"{'model':<8} {'size':>9} {'seconds':>8} {'resident':>9} {'anonymous':>9} {'proof':>9}  limit")
        for kind, size in (("nodes", arguments.nodes), ("weights", arguments.gigabytes)):
            path = folder / f"{kind}.onnx"
            model_bytes = assignments(path, int(size)) if kind == "nodes" else heavy(path, size * 1e9)
            results[kind] = measured(kind, path, model_bytes)
            for made in folder.iterdir():
                made.unlink()
    print(f"written to {save(results)}")
    sys.exit(any(result["failures"] for result in results.values()))


def measured(kind: str, path: Path, model_bytes: int) -> dict[str, object]:
    """Exports a model, prints a line, and returns what it took and which limits that breaks."""
    seconds, peaks, report = watched(["export", str(path), "-o", str(path.with_name("out.onnx")), "--json"])
    command = peaks.pop(0)
    proof = max(peaks, key=lambda peak: peak.resident, default=Peak())
    limit = MOST_TIMES_MODEL * model_bytes + MOST_BYTES_BESIDE
    failures = []
    if kind == "nodes" and seconds > MOST_SECONDS:
        failures.append(f"{seconds:.1f} s are more than {MOST_SECONDS:.0f} s")
    if command.resident > limit:
        failures.append(f"{command.resident / 1e6:.0f} MB are more than {limit / 1e6:.0f} MB")
    if kind == "weights" and command.anonymous > model_bytes + MOST_BYTES_BESIDE:
        failures.append("the weights are held twice")
    if report["rewrites"]["scatters_after"]:
        failures.append("scatters are left")
    sizes = [model_bytes, command.resident, command.anonymous, proof.resident]
    size, *shown = (f"{count / 1e6:>6.0f} MB" for count in sizes)
    print(f"{kind:<8} {size} {seconds:>8.1f} {' '.join(shown)}  {'; '.join(failures) or 'kept'}", flush=True)
    return {
        "model_bytes": model_bytes,
        "nodes": [report["rewrites"][f"nodes_{when}"] for when in ("before", "after")],
        "scatters": [report["rewrites"][f"scatters_{when}"] for when in ("before", "after")],
        "seconds": round(seconds, 2),
        "stages": {stage["name"]: round(stage["seconds"], 2) for stage in report["stages"]},
        "peak_bytes": asdict(command),
        "peak_bytes_of_the_proof": asdict(proof),
        "times_model": round(command.resident / model_bytes, 3),
        "limit_bytes": limit,
        "failures": failures,
    }


def watched(arguments: list[str]) -> tuple[float, list[Peak], dict[str, object]]:
    """Runs s2deploy and returns its seconds, the peaks of its own process and of each child, and its JSON document.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    peaks: dict[int, Peak] = {}
    started = time.perf_counter()
    command = [sys.executable, "-m", "s2deploy", *arguments]
    with (
        tempfile.TemporaryFile() as out,
        subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL) as process,
    ):
        peaks[process.pid] = Peak()
        while process.poll() is None:
            for pid in (process.pid, *children(process.pid)):
                observe(pid, peaks.setdefault(pid, Peak()))
            time.sleep(_POLL_SECONDS)
        seconds = time.perf_counter() - started
        out.seek(0)
        document = out.read()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, document)
    return seconds, list(peaks.values()), json.loads(document)


def children(pid: int) -> list[int]:
    """Returns the processes another one has started."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def observe(pid: int, peak: Peak) -> None:
    """Raises the peak of a process to what it has now; the system itself keeps that of all resident memory."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return
    now = {key: int(rest.split()[0]) * 1024 for key, _, rest in (line.partition(":") for line in lines) if "kB" in rest}
    peak.resident = max(peak.resident, now.get("VmHWM", 0))
    peak.anonymous = max(peak.anonymous, now.get("RssAnon", 0))


def assignments(path: Path, nodes: int) -> int:
    """Writes a graph of convolutions with two overlapping slice assignments after each, and returns its size."""
    rng = np.random.default_rng(0)
    forth = {"down": (0, 7, range(1, 8)), "up": (1, 8, range(7))}
    weights = {"last": np.array([2]), "kernel": (rng.standard_normal((16, 16, 1, 1)) / 4).astype(np.float32)}
    for name, (start, end, rows) in forth.items():
        index = np.array(rows).reshape(-1, 1)
        weights |= {f"{name}_start": np.array([start]), f"{name}_end": np.array([end]), f"{name}_index": index}
    made: list[onnx.NodeProto] = []

    def add(op_type: str, *inputs: str, **attributes: object) -> str:
        made.append(helper.make_node(op_type, inputs, [f"v{len(made)}"], **attributes))
        return made[-1].output[0]

    value = "x"
    while len(made) < nodes:
        block = value = add("Relu", add("Conv", value, "kernel"))
        for name in forth:
            source = add("Slice", value, f"{name}_start", f"{name}_end", "last")
            flipped, rows = (add("Transpose", part, perm=[2, 0, 1, 3]) for part in (value, source))
            written = add("ScatterND", flipped, f"{name}_index", rows)
            value = add("Transpose", written, perm=[1, 2, 0, 3])
        value = add("Add", value, block)
    made[-1].output[0] = "y"
    shape = ["batch", 16, 8, 8]
    graph = helper.make_graph(
        made,
        "assignments",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path.stat().st_size


def heavy(path: Path, wanted_bytes: float) -> int:
    """Writes matrix products with a slice assignment after each, their weights in one data file; returns the size."""
    width = 4096
    count = max(1, round(wanted_bytes / (4 * width * width)))
    rng = np.random.default_rng(0)
    constants = {"start": np.array([0]), "end": np.array([width - 1]), "last": np.array([1])}
    constants["index"] = np.stack(np.meshgrid([0], range(1, width), indexing="ij"), axis=-1)
    nodes, initializers, value = [], [numpy_helper.from_array(a, name) for name, a in constants.items()], "x"
    with path.with_suffix(".data").open("wb") as data:
        for k in range(count):
            tensor = TensorProto(name=f"w{k}", data_type=TensorProto.FLOAT, dims=[width, width])
            tensor.data_location = TensorProto.EXTERNAL
            place = {"location": data.name.rpartition("/")[2], "offset": data.tell(), "length": 4 * width * width}
            for key, entry in place.items():
                tensor.external_data.add(key=key, value=str(entry))
            initializers.append(tensor)
            (rng.standard_normal((width, width), np.float32) / np.float32(np.sqrt(width))).tofile(data)
            nodes += [
                helper.make_node("MatMul", [value, f"w{k}"], [f"a{k}"]),
                helper.make_node("Slice", [f"a{k}", "start", "end", "last"], [f"s{k}"]),
                helper.make_node("ScatterND", [f"a{k}", "index", f"s{k}"], [f"y{k}"]),
            ]
            value = f"y{k}"
    shape = [1, width]
    graph = helper.make_graph(
        nodes,
        "heavy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, shape)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path.stat().st_size + path.with_suffix(".data").stat().st_size


def save(results: dict[str, dict[str, object]]) -> Path:
    """Writes the results with what they depend on, and returns the path."""
    document = {
        "benchmark": "rewrite_memory",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "device": {"cores": os.cpu_count(), "system": platform.platform()},
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "counted": "resident: VmHWM, file-backed pages included; anonymous: RssAnon, polled",
        "results": results,
    }
    path = HERE / "results" / "rewrite_memory.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path.relative_to(HERE.parent)


if __name__ == "__main__":
    main()
