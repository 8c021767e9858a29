"""Checks and measures the kernels of `plugins/` on a GPU; needs one, nvcc, CMake, and a PyTorch with CUDA and Triton.

Run it with ``python benchmarks/gpu_kernels.py``. In this order it

* builds the kernels for this GPU and, where TENSORRT_11_INCLUDE or another folder of headers is given, the plugins,
* runs every reference case through launchers and plugins, directly and out of CUDA graphs, and again under
  compute-sanitizer,
* compares every kernel with float64 arithmetic on shapes of models and on odd ones, in every dtype and layout,
* times every kernel beside eager PyTorch, torch.compile, Triton and a copy of as many bytes, all in one run.

It prints a table, writes ``benchmarks/results/gpu_kernels.json`` and exits with 1 where anything is wrong. A share of
the copy's bandwidth is the copy's time over the kernel's, for the bytes that have to move.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PLUGINS = HERE.parent / "plugins"
HEADERS = ("TENSORRT_11_INCLUDE", "TENSORRT_10_INCLUDE", "TENSORRT_8_INCLUDE")
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
SANITIZED_CASES = 150
GOAL_SHAPE, GOAL_SHARE = (64, 384, 56, 56), 0.85

sys.path[:0] = [str(HERE), str(HERE.parent)]

from gpu.problem import DTYPES, ODD_SHAPES, SHAPES, Problem, problems  # noqa: E402


def main() -> int:
    """Runs everything; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--build", type=Path, default=HERE.parent / "build" / "gpu", help="folder to build in")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "gpu_kernels.json")
    parser.add_argument(
        "--shape", action="append", metavar="N,C,H,W", help="measure this one; repeatable; default: six"
    )
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="measure this one; repeatable; default: all")
    parser.add_argument("--no-sanitizer", action="store_true", help="leave compute-sanitizer out")
    asked = parser.parse_args()
    reason = missing()
    if reason:
        print(f"nothing was run: {reason}", file=sys.stderr)
        return 1
    headers = next((os.environ[name] for name in HEADERS if os.environ.get(name)), None)
    build(asked.build, headers)
    failures = run_cases(asked.build, headers is not None, not asked.no_sanitizer)

    from gpu.library import Library

    library = Library(asked.build / "libs2deploy_kernels_c.so")
    shapes = [tuple(map(int, shape.split(","))) for shape in asked.shape or ()] or SHAPES
    for problem in problems((*shapes, *ODD_SHAPES), DTYPES):
        failures += checked(library, problem)
    rows = [measured(library, problem) for problem in problems(shapes, asked.dtype or DTYPES)]
    failures += [f"{row['problem']}: {row['share_of_copy']:.0%} of the copy" for row in rows if misses(row)]
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine(), "headers": headers is not None, "failures": failures, "rows": rows}
    asked.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(table(rows), *(f"FAILED {failure}" for failure in failures), sep="\n")
    return 1 if failures else 0


def missing() -> str | None:
    """Returns what this machine lacks, or None."""
    for tool in ("cmake", "nvcc"):
        if not shutil.which(tool):
            return f"{tool} is not on PATH"
    try:
        import torch
        import triton  # noqa: F401
    except ImportError as error:
        return str(error)
    return None if torch.cuda.is_available() else "there is no GPU that PyTorch can use"


def machine() -> dict[str, str]:
    """Returns what the numbers depend on."""
    import torch
    import triton

    properties = torch.cuda.get_device_properties(0)
    versions = {"torch": torch.__version__, "cuda": str(torch.version.cuda), "triton": triton.__version__}
    return {"gpu": properties.name, "capability": f"{properties.major}.{properties.minor}", **versions} | {
        "python": platform.python_version()
    }


def build(folder: Path, headers: str | None) -> None:
    """Builds kernels, tests and, with headers, the plugins for this GPU."""
    import torch

    major, minor = torch.cuda.get_device_capability()
    options = [f"-DCMAKE_CUDA_ARCHITECTURES={major}{minor}-real", f"-DPython3_EXECUTABLE={sys.executable}"]
    options += [f"-DTensorRT_INCLUDE_DIR={headers}"] if headers else []
    subprocess.run(["cmake", "-S", PLUGINS, "-B", folder, *options], check=True)
    subprocess.run(["cmake", "--build", folder, "--parallel"], check=True)


def run_cases(folder: Path, with_plugins: bool, sanitize: bool) -> list[str]:
    """Runs the reference cases on the GPU, then fewer of them under every tool of compute-sanitizer."""
    cases, few = folder / "cases.bin", folder / "few.bin"
    script = PLUGINS / "tests" / "referenceCases.py"
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    for path, count in ((cases, 4000), (few, SANITIZED_CASES)):
        subprocess.run([sys.executable, script, path, "--count", str(count)], check=True, env=environment)
    programs = {"kernelDeviceTest": []}
    if with_plugins:
        programs["pluginDeviceTest"] = [folder / "libs2deploy_plugins.so"]
    sanitizer = shutil.which("compute-sanitizer")
    failures = [] if sanitizer or not sanitize else ["compute-sanitizer is not on PATH"]
    for name, extra in programs.items():
        program = folder / "tests" / name
        failures += attempt(name, [program, cases, *extra])
        for tool in TOOLS if sanitizer and sanitize else ():
            options = ["--tool", tool, "--error-exitcode", "9"]
            failures += attempt(f"{name} under {tool}", [sanitizer, *options, program, few, *extra])
    return failures


def attempt(name: str, command: list[Any]) -> list[str]:
    """Runs a command; returns its name and last lines where it failed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    print(name, "passed" if done.returncode == 0 else f"FAILED with {done.returncode}", flush=True)
    return [] if done.returncode == 0 else [f"{name}: {(done.stdout + done.stderr)[-1500:]}"]


def checked(library: Any, problem: Problem) -> list[str]:
    """Compares a kernel with the same operator in float64; returns what is wrong."""
    import torch
    from gpu.peers import indexed

    from s2deploy.ops import SPATIAL_SHIFT

    inputs = problem.inputs("cuda")
    got = library.solver(problem, "cuda")(*inputs)
    torch.cuda.synchronize()
    if problem.shape[0] == 0 or 0 in problem.shape[2:]:
        return [] if not got.any() else [f"{problem}: an empty map does not give zeros"]
    if problem.op is SPATIAL_SHIFT:
        return [] if torch.equal(got, indexed(problem, "cuda")(*inputs)) else [f"{problem}: elements differ"]
    wanted = exact(problem, inputs)
    magnitude = wanted.abs().max().item()
    worst = ((got.double() - wanted).abs() - tolerance(got.dtype) * wanted.abs()).max().item()
    return [] if worst <= 1e-5 * magnitude else [f"{problem}: off by {worst:.2e} of {magnitude:.2e}"]


def exact(problem: Problem, inputs: list[Any]) -> Any:
    """Computes a sum in float64, sample by sample to spare memory."""
    import torch
    from gpu.peers import assigned

    one = Problem(problem.op, (1, *problem.shape[1:]), "float64", problem.channels_last)
    solve = assigned(one)
    samples = range(problem.shape[0])
    return torch.cat([solve(*(tensor[at : at + 1].double() for tensor in inputs)) for at in samples])


def tolerance(dtype: Any) -> float:
    """Returns half a unit in the last place, with room for sums in float32 before that."""
    import torch

    return float(torch.finfo(dtype).eps) * (16 if dtype is torch.float32 else 0.51)


def measured(library: Any, problem: Problem) -> dict[str, Any]:
    """Times a kernel and its peers together; a peer that fails or computes something else is named and left out."""
    import torch
    from gpu.clock import time_together
    from gpu.peers import assigned, compiled, indexed
    from gpu.triton_peers import triton_solver

    inputs = problem.inputs("cuda")
    ours = library.solver(problem, "cuda")
    makers: dict[str, Callable[[], Any]] = {
        "eager": lambda: assigned(problem),
        "compile (assignments)": lambda: compiled(assigned(problem)),
        "compile (indices)": lambda: compiled(indexed(problem, "cuda")),
        "triton": lambda: triton_solver(problem, "cuda"),
    }
    wanted = ours(*inputs).clone()
    torch._dynamo.reset()  # what earlier problems compiled counts towards the limit of recompilations
    calls: dict[str, Callable[[], object]] = {"kernel": lambda: ours(*inputs)}
    excluded = {}
    for name, make in makers.items():
        try:
            solve = make()
            for _ in range(3):
                got = solve(*inputs)
            if torch.allclose(got.float(), wanted.float(), rtol=3e-2, atol=3e-2 * wanted.abs().max().item()):
                calls[name] = lambda solve=solve: solve(*inputs)
            else:
                excluded[name] = "computes something else"
        except Exception as error:
            excluded[name] = str(error)[:300]
    source = torch.empty(problem.bytes_moved // 2, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    calls["copy"] = lambda: target.copy_(source)
    times = time_together(calls)
    peers = {name: time for name, time in times.items() if name not in ("kernel", "copy")}
    row = {
        "problem": str(problem),
        "shape": problem.shape,
        "microseconds": {name: round(time, 2) for name, time in times.items()},
        "share_of_copy": round(times["copy"] / times["kernel"], 3),
        "bytes_moved": problem.bytes_moved,
        "excluded": excluded,
    }
    if peers:
        best = min(peers, key=lambda name: peers[name])
        row |= {"best_peer": best, "speedup": round(peers[best] / times["kernel"], 2)}
    print(json.dumps(row), flush=True)
    return row


def misses(row: dict[str, Any]) -> bool:
    """Whether a row has a goal and does not reach it."""
    has_goal = tuple(row["shape"]) == GOAL_SHAPE and not row["problem"].endswith("float32")
    return has_goal and row["share_of_copy"] < GOAL_SHARE


def table(rows: list[dict[str, Any]]) -> str:
    """Returns the rows as Markdown."""
    lines = ["| problem | kernel, µs | of the copy | best peer | its time, µs | speedup |", "|---|---|---|---|---|---|"]
    for row in rows:
        times, best = row["microseconds"], row.get("best_peer")
        peer = f"{best} | {times[best]} | {row['speedup']}" if best else "none | |"
        lines.append(f"| {row['problem']} | {times['kernel']} | {row['share_of_copy']:.0%} | {peer} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
