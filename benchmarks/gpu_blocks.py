"""Whole blocks on a GPU: naive ScatterND, Slice and Concat, and the plugins on TensorRT, beside PyTorch, in one table.

Run: python benchmarks/gpu_blocks.py prepare out/blocks          on any machine with the project and PyTorch
     python benchmarks/gpu_blocks.py run out/blocks --library LIB --tensorrt-python CMD [--torch-python CMD]

`run` needs the standard library alone, a GPU, and interpreters as `gpu/run.py` describes them. In this order it

* builds the plugins with CMake and nvcc where `--tensorrt-include` names TensorRT's headers instead of a library,
* times eager PyTorch and torch.compile, then the three engines in turns, in fp32 and fp16, at every batch,
* compares every output with clone semantics on a CPU,
* runs an engine with the plugins under compute-sanitizer,
* runs the C++ pipeline on an engine of the example model with the plugins, and compares its scores with Python's.

It prints a table, writes ``benchmarks/results/gpu_blocks.json``, and exits with 1 where anything failed or differs.
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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE / "gpu"), str(ROOT)]

import run as sides  # noqa: E402
from block_cases import BATCHES, PRECISIONS, WAYS, blocks  # noqa: E402

SIZES = ((192, 32), (384, 16), (384, 56))
"""Channels, and height and width, of the blocks: those of S2-MLPv2 Small/7 at 224 x 224, and a large one."""
TORCH_WAYS = {"eager": "torch eager", "compile": "torch.compile"}
_SANITIZER = ("compute-sanitizer", "--tool", "memcheck", "--error-exitcode", "9")


def main() -> int:
    """Prepares or runs; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    preparing = commands.add_parser("prepare", help="write ONNX files, inputs and outputs; needs PyTorch, no GPU")
    preparing.add_argument("--size", action="append", metavar="C,HW", help="a block; repeatable; default: three")
    preparing.add_argument("--batch", action="append", type=int, help="repeatable; default: 1 to 64")
    preparing.add_argument("--example", default="s2mlpv2_tiny", help="factory of examples/s2mlpv2.py for C++")
    running = commands.add_parser("run", help="measure on a GPU what was prepared")
    running.add_argument("--tensorrt-python", metavar="CMD", required=True)
    running.add_argument("--torch-python", metavar="CMD")
    running.add_argument("--library", type=Path, help="the library of the plugins; or:")
    running.add_argument("--tensorrt-include", type=Path, help="TensorRT's headers, to build it with")
    running.add_argument("--tensorrt-root", type=Path, help="TensorRT's folder, with include/ and lib/, for C++")
    running.add_argument("--precision", action="append", choices=PRECISIONS, help="default: both")
    running.add_argument("--without-cuda-libraries", action="store_true", help="TensorRT lacks cuBLAS and cuDNN")
    running.add_argument("--output", type=Path, default=HERE / "results" / "gpu_blocks.json")
    for each in (preparing, running):
        each.add_argument("folder", type=Path)
    asked = parser.parse_args()
    if asked.command == "prepare":
        from block_prepare import prepare

        sizes = [tuple(map(int, text.split(","))) for text in asked.size or ()] or list(SIZES)
        prepare(blocks([(c, side) for c, side in sizes], tuple(asked.batch or BATCHES)), asked.folder, asked.example)
        return 0
    if not (asked.folder / "cases.json").is_file():
        parser.error(f"{asked.folder} was not prepared")
    if asked.library is None and asked.tensorrt_include is None:
        parser.error("give --library, or --tensorrt-include to build it")
    return measure(asked)


def measure(asked: argparse.Namespace) -> int:
    """Runs every part, writes what they found, and returns 1 where one failed."""
    folder = asked.folder.resolve()
    library = (asked.library or build_plugins(asked.tensorrt_include, folder / "plugins")).resolve()
    document: dict[str, Any] = {
        "benchmark": "gpu_blocks",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "device": {"gpus": sides.gpus(), "cores": os.cpu_count(), "system": platform.platform()},
    }
    precisions = asked.precision or PRECISIONS
    chosen = [f"--precision={precision}" for precision in precisions]
    plain = ["--without-cuda-libraries"] if asked.without_cuda_libraries else []
    arguments = [str(folder), "--library", str(library), *chosen, *plain]
    plan = folder / "example.plan"
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "torch": lambda: sides.side(asked.torch_python, ["block_torch.py", str(folder), *chosen]),
        "tensorrt": lambda: sides.side(
            asked.tensorrt_python, ["block_tensorrt.py", *arguments, "--example-plan", str(plan)]
        ),
        "sanitizer": lambda: sanitized(asked.tensorrt_python, folder, arguments, precisions),
        "cpp": lambda: cpp(asked.tensorrt_python, asked.tensorrt_root, plan),
    }
    if asked.torch_python is None:
        del parts["torch"]
    if asked.tensorrt_root is None:
        del parts["cpp"]
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():  # what is known is kept where a later part takes too long
        document[name] = part()
        asked.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    bad = problems(document)
    print(table(document), *(f"FAILED {line}" for line in bad), f"written to {asked.output}", sep="\n")
    return 1 if bad else 0


def build_plugins(headers: Path, folder: Path) -> Path:
    """Builds the library of the plugins for this GPU, and returns it."""
    options = [f"-DTensorRT_INCLUDE_DIR={headers.resolve()}", "-DCMAKE_CUDA_ARCHITECTURES=native"]
    subprocess.run(["cmake", "-S", ROOT / "plugins", "-B", folder, "-DS2DEPLOY_BUILD_TESTS=OFF", *options], check=True)
    subprocess.run(["cmake", "--build", folder, "--parallel"], check=True)
    return folder / "libs2deploy_plugins.so"


def sanitized(command: str, folder: Path, arguments: list[str], precisions: Sequence[str]) -> dict[str, Any]:
    """Runs the first engine with plugins once under compute-sanitizer, in each precision."""
    if shutil.which(_SANITIZER[0]) is None:
        return {"failed": f"{_SANITIZER[0]} is not on PATH"}
    results: dict[str, Any] = {}
    for precision in precisions:
        found = sorted((folder / "plans").glob(f"*.plugin.{precision}.plan"))
        if not found:
            return {"failed": f"there is no plan with plugins in {precision}"}
        script = [str(HERE / "gpu" / "block_tensorrt.py"), *arguments, "--once", str(found[0])]
        done = ran([*_SANITIZER, *shlex.split(command), *script])
        if done.returncode != 0:
            return {"failed": f"{found[0].name}: {(done.stdout + done.stderr)[-1500:]}"}
        results[precision] = "clean"
    return results


def cpp(command: str, root: Path, plan: Path) -> dict[str, Any]:
    """Runs the pipelines in C++ and Python on one plan."""
    done = ran([*shlex.split(command), str(ROOT / "cpp/tests/gpu.py"), f"--tensorrt-root={root}", f"--plan={plan}"])
    words = (done.stdout + done.stderr).strip()
    return {"said": words[-600:]} if done.returncode == 0 else {"failed": words[-1500:]}


def ran(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a command that finds the project."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def problems(document: dict[str, Any]) -> list[str]:
    """Returns what failed or differs, a line each; how far eager PyTorch is off is no failure."""
    lines = [f"{name}: {document[name]['failed']}" for name in ("torch", "tensorrt", "sanitizer", "cpp")
             if "failed" in document.get(name, {})]  # fmt: skip
    tensorrt = document.get("tensorrt", {})
    for row in tensorrt.get("rows", ()):
        if not row["passed"]:
            where = f"{row['block']} {row['precision']} batch {row['batch']} {row['way']}"
            lines.append(f"{where}: {row.get('error', 'beyond the tolerance')}")
    if not tensorrt.get("example", {"passed": True})["passed"]:
        lines.append(f"the example: {tensorrt['example']['error']}")
    return lines


def table(document: dict[str, Any]) -> str:
    """Returns the times in milliseconds as Markdown, and how the plugins compare with the best of the others."""
    names = {**WAYS, **TORCH_WAYS}
    rows = [*document.get("tensorrt", {}).get("rows", ()), *document.get("torch", {}).get("rows", ())]
    times = {
        (row["block"], row["precision"], row["batch"], row["way"]): row["median_ms"]
        for row in rows
        if row.get("median_ms") is not None
    }
    lines = [f"| block, ms | precision | batch | {' | '.join(names.values())} | plugin, best of the others |"]
    lines.append("|" + "---|" * (len(names) + 4))
    for key in dict.fromkeys(key[:3] for key in times):
        own = {way: times.get((*key, way)) for way in names}
        others = [time for way, time in own.items() if way != "plugin" and time is not None]
        plugin = own["plugin"]
        gain = f"{min(others) / plugin:.2f} × as fast" if others and plugin else ""
        cells = ["" if time is None else f"{time:.3f}" for time in own.values()]
        lines.append(f"| {key[0]} | {key[1]} | {key[2]} | {' | '.join(cells)} | {gain} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
