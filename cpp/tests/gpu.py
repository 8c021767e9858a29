"""Runs the C++ example on a GPU and compares its scores with Python's, of the same plan on the same samples.

Usage, with s2deploy and TensorRT's Python package installed, from the folder of the project:

    python cpp/tests/gpu.py --tensorrt-root FOLDER [--cuda-root FOLDER] [--plan MODEL.plan]

Without a plan it builds one of examples/s2mlpv2.py, in float32, which takes minutes. Ends with status 0 where the
scores agree, 1 where they do not or a step fails, and 77 where there is no GPU.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import s2deploy
from s2deploy.errors import TargetUnavailableError
from s2deploy.runtime.device import Device

_ROOT = Path(__file__).resolve().parents[2]
_SAMPLES, _BATCH = 21, 4
_SKIPPED = 77
# Both sides run the same engine, which may sum in another order from run to run.
_TOLERANCE = 1e-5


def main() -> int:
    """Runs the comparison; returns the exit code."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--tensorrt-root", type=Path, required=True, help="TensorRT's folder, with include/ and lib/")
    parser.add_argument("--cuda-root", type=Path, help="the CUDA toolkit's folder")
    parser.add_argument("--plan", type=Path, help="a plan of s2deploy build --target tensorrt, of one image input")
    options = parser.parse_args()
    try:
        print(f"GPU: {Device().name}")
    except TargetUnavailableError as error:
        print(f"skipped: {error.message}")
        return _SKIPPED
    with tempfile.TemporaryDirectory() as folder:
        return _compare(options, Path(folder))


def _compare(options: argparse.Namespace, folder: Path) -> int:
    program = _build_program(options, folder)
    plan = options.plan or _build_plan(folder)
    samples = folder / "samples"
    samples.mkdir()
    with s2deploy.load(plan) as session:
        shape = [dim.opt for dim in session.specs[0].dims[1:]]
        classes = session.outputs[0].shape[-1]
    for number in range(_SAMPLES):
        sample = np.random.default_rng(number).standard_normal(shape, np.float32)
        sample.tofile(samples / f"{number:02}.bin")
    arguments = [plan, samples, "--batch", str(_BATCH), "--scores"]
    _run(program, *arguments, folder / "cpp.bin")
    _run(sys.executable, _ROOT / "examples/python_pipeline/main.py", *arguments, folder / "python.bin")
    cpp, python = (np.fromfile(folder / f"{side}.bin", np.float32).reshape(-1, classes) for side in ("cpp", "python"))
    worst = float(np.abs(cpp - python).max()) / max(float(np.abs(python).max()), 1e-30)
    same = cpp.shape == (_SAMPLES, classes) and bool(np.isfinite(cpp).all()) and worst <= _TOLERANCE
    print(f"{_SAMPLES} samples of {classes} scores: worst difference {worst:.1e} of the largest score, "
          f"{int((cpp != python).sum())} scores differ at all; allowed: {_TOLERANCE}")  # fmt: skip
    print("C++ and Python agree" if same else "C++ and Python differ")
    return 0 if same else 1


def _build_program(options: argparse.Namespace, folder: Path) -> Path:
    roots = [f"-DTENSORRT_ROOT={options.tensorrt_root.resolve()}"]
    if options.cuda_root:
        roots.append(f"-DCUDAToolkit_ROOT={options.cuda_root.resolve()}")
    installed = folder / "installed"
    for source, more in (
        (_ROOT / "cpp", f"-DCMAKE_INSTALL_PREFIX={installed}"),
        (_ROOT / "examples/cpp_pipeline", f"-DCMAKE_PREFIX_PATH={installed}"),
    ):
        build = folder / source.name
        _run("cmake", "-S", source, "-B", build, *roots, more)
        _run("cmake", "--build", build, "--parallel", "4")
        if source.name == "cpp":
            _run("cmake", "--install", build)
    return folder / "cpp_pipeline/cpp_pipeline"


def _build_plan(folder: Path) -> Path:
    source = f"{_ROOT / 'examples/s2mlpv2.py'}:s2mlpv2_small_7"
    model, plan = folder / "model.onnx", folder / "model.plan"
    command = (sys.executable, "-m", "s2deploy")
    _run(*command, "export", source, "--input", f"x:batch=1..{_BATCH}..8,3,224,224", "-o", model)
    _run(*command, "build", model, "--target", "tensorrt", "-o", plan)
    return plan


def _run(*command: object) -> None:
    print("+", *command, flush=True)
    subprocess.run(list(map(str, command)), check=True, cwd=_ROOT)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.cmd[0]} failed with status {error.returncode}; its words are above")
