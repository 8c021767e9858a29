"""Sends mutated ONNX files through the library: no crash, no hang, no wrong output, errors of ours only.

``python benchmarks/fuzz.py --minutes 10`` mutates exports of several frameworks, random programs and node models of the
onnx package, four times in five in their structure and else in their bytes. Each mutant is run by onnxruntime,
rewritten and run again, and exported, in a process of its own with limits of time and memory. A model that runs must
give the same bits after the rewrite; any other must be refused by an error of s2deploy with a hint. Mutants that break
this are kept in a folder, and the exit code is 1. ``--only KEY`` repeats one of them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter
from datetime import date
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import onnxruntime  # noqa: F401  (workers are forked with what they need)
import polygraphy.comparator  # noqa: F401
from fuzzing.seeds import corpus
from fuzzing.trial import Verdict
from fuzzing.worker import Corpus, Worker, mutant

import s2deploy.pipeline  # noqa: F401
from s2deploy.metadata import installed_versions


def main() -> int:
    """Fuzzes for the given time, prints the counts, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10, help="how long to go on (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="mutants are the same for the same seed (default 0)")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes at a time")
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"), help="folder of failing mutants")
    parser.add_argument("--only", metavar="KEY", help="try the one mutant of a key SEED:NUMBER")
    parser.add_argument("--output", type=Path, help="write the counts to this JSON file")
    arguments = parser.parse_args()
    seeds = list(corpus().items())
    if arguments.only:
        return _repeat(seeds, arguments.only)
    run = Run(seeds, arguments.seed, arguments.failures, time.monotonic() + 60 * arguments.minutes)
    threads = [threading.Thread(target=run.work) for _ in range(arguments.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{run.tried} mutants of {len(seeds)} seeds in {arguments.minutes:g} minutes, {run.failed} failed")
    for outcome, count in sorted(run.counts.items()):
        print(f"  {count:7}  {outcome}")
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(run.record(arguments.minutes), indent=2) + "\n")
    return 1 if run.failed else 0


class Run:
    """The counts of one run, shared by its threads.

    Args:
        seeds: What is mutated.
        seed: The seed of the run.
        failures: Where failing mutants are kept.
        deadline: When to stop, on the monotonic clock.
    """

    def __init__(self, seeds: Corpus, seed: int, failures: Path, deadline: float) -> None:
        self.counts: Counter[str] = Counter()
        self.tried = 0
        self.failed = 0
        self._seeds, self._seed, self._failures, self._deadline = seeds, seed, failures, deadline
        self._next = 0
        self._lock = threading.Lock()

    def work(self) -> None:
        """Tries mutants until the time is over."""
        worker = Worker(self._seeds)
        while time.monotonic() < self._deadline:
            with self._lock:
                key = f"{self._seed}:{self._next}"
                self._next += 1
            verdicts = worker.try_mutant(key)
            with self._lock:
                self._count(key, verdicts)
        worker.close()

    def _count(self, key: str, verdicts: list[Verdict]) -> None:
        self.tried += 1
        self.counts.update(verdict.outcome for verdict in verdicts)
        failures = [verdict for verdict in verdicts if verdict.failed]
        if not failures:
            return
        self.failed += 1
        data, done = mutant(self._seeds, key)
        self._failures.mkdir(parents=True, exist_ok=True)
        path = self._failures / f"{key.replace(':', '-')}.onnx"
        path.write_bytes(data)
        text = "\n".join([f"{key}  {done}", *(f"{verdict.outcome}\n{verdict.detail}" for verdict in failures)])
        path.with_suffix(".txt").write_text(text + "\n")
        print(f"{key}  {done}\n    {'; '.join(verdict.outcome for verdict in failures)}", flush=True)

    def record(self, minutes: float) -> dict[str, object]:
        """Returns what to keep of the run."""
        return {
            "command": f"python benchmarks/fuzz.py --minutes {minutes:g} --seed {self._seed}",
            "date": date.today().isoformat(),
            "versions": installed_versions(),
            "seeds": len(self._seeds),
            "mutants": self.tried,
            "failed": self.failed,
            "outcomes": dict(sorted(self.counts.items())),
        }


def _repeat(seeds: Corpus, key: str) -> int:
    data, done = mutant(seeds, key)
    Path("mutant.onnx").write_bytes(data)
    print(f"{done}; written to mutant.onnx")
    worker = Worker(seeds)
    verdicts = worker.try_mutant(key)
    worker.close()
    for verdict in verdicts:
        print(f"{verdict.outcome}\n{verdict.detail}".strip())
    return 1 if any(verdict.failed for verdict in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
