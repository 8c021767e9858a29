"""Compares the wall time of ``s2deploy export``, its validation included, with plain ``torch.onnx.export``.

Run it with ``python benchmarks/export_time.py``. Both sides are whole processes that import torch, build the same
model with the same seed and write an ONNX file: s2deploy with everything it does by default, and
``torch.onnx.export(dynamo=True)`` with its defaults and the same dynamic batch. They run one after the other, in turn,
`--runs` times; the ratio is that of the medians. Then a process exports once more and lets the system's peak of its
memory start anew with every stage: `peak_bytes` is the most memory of that process during the stage, `child_peak_bytes`
that of the process which runs the proof. ``--stages-only`` measures these alone and keeps the rest of the last result.
The result goes to ``benchmarks/results/`` as JSON.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODEL = HERE.parent / "examples" / "s2mlpv2.py"
FACTORY = "s2mlpv2_small_7"
BATCH = (1, 2, 4)
PACKAGES = ("s2deploy", "torch", "onnx", "onnxscript", "onnxruntime", "polygraphy")

PLAIN = """
import runpy, sys, torch
path, factory, output, least, typical, most = sys.argv[1:4] + list(map(int, sys.argv[4:]))
torch.manual_seed(0)
model = runpy.run_path(path)[factory]().eval()
batch = torch.export.Dim("batch", min=least, max=most)
torch.onnx.export(model, (torch.zeros(typical, 3, 224, 224),), output, dynamo=True, dynamic_shapes=({0: batch},))
"""


STAGES = """
import json, sys
sys.path.insert(0, sys.argv[1])
import export_time
print(json.dumps(export_time.stages(*sys.argv[2:])))
"""


def main() -> None:
    """Runs the comparison and prints it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1, help="runs of each side (default 1)")
    parser.add_argument("--stages-only", action="store_true", help="time and memory of the stages alone")
    asked = parser.parse_args()
    seconds: dict[str, list[float]] = {"s2deploy": [], "torch": []}
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder) / "model.onnx")
        batch = "batch=" + "..".join(map(str, BATCH))
        source = f"{MODEL}:{FACTORY}"
        commands = {
            "s2deploy": ["-m", "s2deploy", "export", source, "--input", f"x:{batch},3,224,224", "-o", output],
            "torch": ["-c", PLAIN, str(MODEL), FACTORY, output, *map(str, BATCH)],
        }
        for _ in range(0 if asked.stages_only else asked.runs):
            for side, command in commands.items():
                seconds[side].append(timed(command))
                print(f"{side:<9} {seconds[side][-1]:7.1f} s", flush=True)
        found = subprocess.run(
            [sys.executable, "-c", STAGES, str(HERE), source, f"x:{batch},3,224,224", output],
            check=True,
            stdout=subprocess.PIPE,
        )
        per_stage = json.loads(found.stdout)
    print(f"{'stage':<9} {'seconds':>8} {'peak':>9} {'child':>9}")
    for stage in per_stage:
        peaks = (f"{stage[key] / 1e6:6.0f} MB" for key in ("peak_bytes", "child_peak_bytes"))
        print(f"{stage['name']:<9} {stage['seconds']:>8.1f} {' '.join(peaks)}")
    if asked.stages_only:
        print(f"written to {save({'stages': per_stage, 'stages_load_average': os.getloadavg()[0]})}")
        return
    medians = {side: statistics.median(values) for side, values in seconds.items()}
    ratio = medians["s2deploy"] / medians["torch"]
    print(f"s2deploy export with validation takes {ratio:.2f} times as long as torch.onnx.export(dynamo=True)")
    print(f"written to {save(described(seconds, ratio, per_stage))}")


def timed(command: list[str]) -> float:
    """Returns the wall time of a Python process in seconds.

    Raises:
        subprocess.CalledProcessError: The process failed.
    """
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def stages(source: str, size: str, output: str) -> list[dict[str, object]]:
    """Exports in this process and returns seconds and peaks of memory of every stage, in bytes.

    Args:
        source: A factory.
        size: Its input.
        output: The file to write.
    """
    from s2deploy import export
    from s2deploy.report import Reporter, Stage

    found: list[dict[str, object]] = []

    class Watching(Reporter):
        @contextmanager
        def stage(self, name: str, doing: str) -> Iterator[Stage]:
            forget_peak("self")
            for pid in children():
                forget_peak(pid)
            with super().stage(name, doing) as stage:
                yield stage
            child = max(map(peak_bytes, children()), default=0)
            seconds = round(self.stages[-1].seconds, 2)
            found.append(
                {"name": name, "seconds": seconds, "peak_bytes": peak_bytes("self"), "child_peak_bytes": child}
            )

    export(source, output, inputs=[size], reporter=Watching())
    return found


def forget_peak(pid: str) -> None:
    """Lets the system's peak of a process's resident memory start anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def peak_bytes(pid: str) -> int:
    """Returns the peak of a process's resident memory since it was forgotten."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def children() -> list[str]:
    """Returns the processes that this one has started."""
    own = os.getpid()
    return Path(f"/proc/{own}/task/{own}/children").read_text(encoding="ascii").split()


def described(seconds: dict[str, list[float]], ratio: float, per_stage: list[dict[str, object]]) -> dict[str, object]:
    """Returns a result with what it depends on."""
    return {
        "benchmark": "export_time",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "device": {"processor": processor(), "cores": os.cpu_count(), "system": platform.platform()},
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "model": f"examples/{MODEL.name}:{FACTORY}",
        "input": {"batch": list(BATCH), "shape": [3, 224, 224]},
        "seconds": seconds,
        "ratio": round(ratio, 3),
        "stages": per_stage,
        "stages_load_average": os.getloadavg()[0],
    }


def save(fields: dict[str, object]) -> Path:
    """Writes fields of the result over those of the last one, and returns its path."""
    path = HERE / "results" / "export_time.json"
    path.parent.mkdir(exist_ok=True)
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps(known | fields, indent=2) + "\n", encoding="utf-8")
    return path.relative_to(HERE.parent)


def processor() -> str:
    """Returns the processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
