"""Runs the GPU measurements on what `prepare.py` wrote, and writes one JSON document.

Run: python benchmarks/gpu/run.py out/gpu --tensorrt-python CMD --torch-python CMD [--rtx-python CMD]
Each CMD starts an interpreter: TensorRT's, with what ``s2deploy build`` needs; PyTorch's, with CUDA; TensorRT-RTX's.
They may be the same, or three that know nothing of each other; one that is not given is left out. A CMD can be several
words, such as ``env LD_LIBRARY_PATH=/opt/trt/lib python3.10``. This file needs the standard library alone.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def main() -> int:
    """Runs what was asked for; returns 1 where something failed or differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="what prepare.py wrote")
    parser.add_argument("--tensorrt-python", metavar="CMD")
    parser.add_argument("--torch-python", metavar="CMD")
    parser.add_argument("--rtx-python", metavar="CMD")
    parser.add_argument(
        "--without-cuda-libraries", action="store_true", help="TensorRT's machine lacks cuBLAS and cuDNN"
    )
    parser.add_argument("--precision", action="append", help="default: fp32, tf32 and fp16")
    parser.add_argument("--device", default="cuda", help="torch's device")
    parser.add_argument("--output", type=Path, default=HERE.parent / "results" / "gpu.json")
    asked = parser.parse_args()
    if not (asked.folder / "cases.json").is_file():
        parser.error(f"{asked.folder} has no cases.json; write one with prepare.py")
    if not (asked.tensorrt_python or asked.torch_python or asked.rtx_python):
        parser.error("name at least one interpreter, e.g. --tensorrt-python python3")
    folder, precisions = str(asked.folder.resolve()), [f"--precision={name}" for name in asked.precision or ()]
    plain = ["--without-cuda-libraries"] if asked.without_cuda_libraries else []
    sides = {
        "torch": (asked.torch_python, ["torch_side.py", folder, f"--device={asked.device}"]),
        "tensorrt": (asked.tensorrt_python, ["tensorrt_side.py", folder, *precisions, *plain]),
        "rtx": (asked.rtx_python, ["tensorrt_side.py", folder, *precisions, "--target=rtx"]),
    }
    document: dict[str, Any] = {
        "benchmark": "gpu",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "device": {"gpus": gpus(), "cores": os.cpu_count(), "system": platform.platform()},
    }
    for name, (command, arguments) in sides.items():
        if command is not None:
            document[name] = side(command, arguments)
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    asked.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    bad = problems(document)
    print("\n".join([f"written to {asked.output}", *bad]))
    return 1 if bad else 0


def side(command: str, arguments: list[str]) -> dict[str, Any]:
    """Runs one script in its interpreter and returns its document, or how it failed."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    script, *others = arguments
    done = subprocess.run(
        [*shlex.split(command), str(HERE / script), *others],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}, check=False,
    )  # fmt: skip
    try:
        document: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {"failed": f"{command} {script} ended with code {done.returncode} and no result"}
    return document


def problems(document: dict[str, Any]) -> list[str]:
    """Returns what failed or differs, a line each."""
    lines = []
    for name in ("torch", "tensorrt", "rtx"):
        part = document.get(name, {})
        lines += [f"{name}: {part['failed']}"] if "failed" in part else []
        for row in part.get("rows", ()):
            if not row["passed"]:
                lines.append(f"{name} {row['case']} {row['precision']}: {row.get('error', 'beyond the tolerance')}")
    return lines


def gpus() -> list[str]:
    """Returns the GPUs by name, driver and memory; none without a driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,compute_cap", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()


if __name__ == "__main__":
    sys.exit(main())
