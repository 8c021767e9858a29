"""Compares the latency of exported files with every peer, and writes the README's table and plot.

Run it with ``make bench`` or ``python benchmarks/latency.py``. Each model is exported by s2deploy (fixed and dynamic
sizes), by both of PyTorch's exporters, and each of those once more through onnxslim; together with PyTorch eager and
torch.compile, and with the block's two matrix products alone as the floor, they are measured by `s2deploy.bench` in
one interleaved run for each number of threads. A run that was measured with the same sources and versions is not
repeated, so that an interrupted benchmark goes on where it stopped; ``--fresh`` measures all again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from latency_exports import exported, sha256_of_sources
from latency_report import is_shaky, readme_table, svg, with_table
from latency_workloads import BLOCKS, EAGER, FLOORS, OURS, QUICK, WORKLOADS, Workload

import s2deploy
from s2deploy.report import Reporter, to_json
from s2deploy.summary_bench import bench_lines

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
RESULTS = HERE / "results"
PACKAGES = ("s2deploy", "torch", "onnx", "onnxruntime", "onnxscript", "onnxslim")
THREADS = (1, 2)
_QUICK_SECONDS = 5.0
_MORE_THREADS_SHARE = 0.5  # what the table's claims rest on is one thread


def main() -> None:
    """Measures what is asked for, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one small block for a few seconds; writes no results")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured before")
    parser.add_argument("--only", action="append", metavar="NAME", help="of the workloads; repeatable")
    parser.add_argument(
        "--patience",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="of each run of more than one thread, for a hypervisor (default 300)",
    )
    parser.add_argument("--folder", type=Path, default=HERE.parent / "out" / "bench", help="for exports and runs")
    asked = parser.parse_args()
    if len(os.sched_getaffinity(0)) < max(THREADS):
        parser.error(f"at least {max(THREADS)} cores are needed")
    workloads = QUICK if asked.quick else WORKLOADS
    unknown = set(asked.only or ()) - {workload.name for workload in workloads}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(w.name for w in workloads)}")
    digest = sha256_of_sources()
    for workload in workloads:
        if asked.only is None or workload.name in asked.only:
            measure(
                workload,
                asked.folder / workload.name,
                digest,
                fresh=asked.fresh,
                quick=asked.quick,
                patience=asked.patience,
            )
    if asked.quick:
        return
    runs = [kept(asked.folder / workload.name, threads, digest) for workload in workloads for threads in THREADS]
    document = described([run for run in runs if run is not None], digest)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latency.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (RESULTS / "latency.svg").write_text(svg(document), encoding="utf-8")
    README.write_text(with_table(README.read_text(encoding="utf-8"), readme_table(document)), encoding="utf-8")
    print("\n".join(["", *readme_table(document)]))
    print(f"\n{len(document['runs'])} of {len(runs)} runs are in the table; again without --only for the rest")


def measure(workload: Workload, folder: Path, digest: str, *, fresh: bool, quick: bool, patience: float) -> None:
    """Measures a workload with each number of threads, unless that has been done, and keeps the runs in its folder."""
    due = [threads for threads in THREADS if fresh or quick or kept(folder, threads, digest) is None]
    if not due:
        return
    print(f"\n== {workload.title}", flush=True)
    files, missing = exported(workload, folder)
    for label, reason in missing.items():
        print(f"missing: {label}: {reason}", flush=True)
    for threads in due:
        run = run_once(workload, files, threads, quick=quick, patience=patience) | {
            "digest": digest,
            "missing": missing,
        }
        (folder / f"run-{threads}.json").write_text(json.dumps(run), encoding="utf-8")


def kept(folder: Path, threads: int, digest: str) -> dict[str, Any] | None:
    """Returns a run measured before with the same sources; None where there is none."""
    path = folder / f"run-{threads}.json"
    if not path.is_file():
        return None
    run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return run if run["digest"] == digest else None


def run_once(
    workload: Workload, files: dict[str, Path], threads: int, *, quick: bool, patience: float
) -> dict[str, Any]:
    """Measures all candidates of a workload in one interleaved run."""
    artifacts: dict[str, str | Path] = {OURS: files[OURS], "torch": workload.source}
    artifacts |= {label: path for label, path in files.items() if label != OURS}
    if workload.group == "block":
        names = {name.removesuffix(" eager"): label for label, name in FLOORS.items() if name.endswith(" eager")}
        artifacts |= {label: f"{BLOCKS}:{name}" for name, label in names.items()}
    seconds = _QUICK_SECONDS if quick else workload.seconds * (1.0 if threads == 1 else _MORE_THREADS_SHARE)
    result = s2deploy.bench(
        artifacts,
        inputs=[workload.fixed],
        kwargs=workload.kwargs,
        compiled=["torch"],
        threads=threads,
        seconds=seconds,
        patience=0.0 if quick or threads == 1 else patience,
        reporter=Reporter(sys.stdout),
    )
    print("\n".join(bench_lines(result)), flush=True)
    document: dict[str, Any] = json.loads(to_json(result))
    for entry in document["measurements"]:
        entry["label"] = entry["label"].removesuffix(" eager") if entry["label"] != EAGER else EAGER
        entry["artifact"] = Path(entry["artifact"]).name
        if entry["artifact"].endswith(".onnx"):
            entry["nodes"] = nodes_in(files[entry["label"]])
    return {"workload": workload.name, "title": workload.title, "group": workload.group} | document


def nodes_in(path: Path) -> int:
    """Returns how many nodes of a file are not Constant."""
    from s2deploy import onnx_file
    from s2deploy.rewrite import count_nodes

    return count_nodes(onnx_file.read(path))


def described(runs: list[dict[str, Any]], digest: str) -> dict[str, Any]:
    """Returns the runs with what they depend on."""
    loads = [run["conditions"]["load_average"] for run in runs]
    doubts = sum(map(is_shaky, runs))
    return {
        "benchmark": "latency",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "device": {"processor": runs[0]["conditions"]["processor"], "system": platform.platform()},
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "digest": digest,
        "load_average": [min(loads), max(loads)],
        "shaky_runs": f"{doubts} of {len(runs)}",
        "runs": runs,
    }


if __name__ == "__main__":
    main()
