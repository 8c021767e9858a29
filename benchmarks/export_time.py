"""Compares the wall time of ``s2deploy export``, its validation included, with plain ``torch.onnx.export``.

Run it with ``python benchmarks/export_time.py``. Both sides are whole processes that import torch, build the same
model with the same seed and write an ONNX file: s2deploy with everything it does by default, and
``torch.onnx.export(dynamo=True)`` with its defaults and the same dynamic batch. They run one after the other, in turn,
`--runs` times; the ratio is that of the medians. The result goes to ``benchmarks/results/`` as JSON.
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


def main() -> None:
    """Runs the comparison and prints it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1, help="runs of each side (default 1)")
    runs = parser.parse_args().runs
    seconds: dict[str, list[float]] = {"s2deploy": [], "torch": []}
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder) / "model.onnx")
        batch = "batch=" + "..".join(map(str, BATCH))
        source = f"{MODEL}:{FACTORY}"
        commands = {
            "s2deploy": ["-m", "s2deploy", "export", source, "--input", f"x:{batch},3,224,224", "-o", output],
            "torch": ["-c", PLAIN, str(MODEL), FACTORY, output, *map(str, BATCH)],
        }
        for _ in range(runs):
            for side, command in commands.items():
                seconds[side].append(timed(command))
                print(f"{side:<9} {seconds[side][-1]:7.1f} s", flush=True)
    medians = {side: statistics.median(values) for side, values in seconds.items()}
    ratio = medians["s2deploy"] / medians["torch"]
    print(f"s2deploy export with validation takes {ratio:.2f} times as long as torch.onnx.export(dynamo=True)")
    print(f"written to {save(seconds, ratio)}")


def timed(command: list[str]) -> float:
    """Returns the wall time of a Python process in seconds.

    Raises:
        subprocess.CalledProcessError: The process failed.
    """
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def save(seconds: dict[str, list[float]], ratio: float) -> Path:
    """Writes a result with what it depends on, and returns its path."""
    result = {
        "benchmark": "export_time",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "device": {"processor": processor(), "cores": os.cpu_count(), "system": platform.platform()},
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "model": f"examples/{MODEL.name}:{FACTORY}",
        "input": {"batch": list(BATCH), "shape": [3, 224, 224]},
        "seconds": seconds,
        "ratio": round(ratio, 3),
    }
    path = HERE / "results" / "export_time.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
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
