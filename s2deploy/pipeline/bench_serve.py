"""The process that one candidate of `bench` runs in; `s2deploy.pipeline.bench_process` starts it.

Commands come as lines of JSON, each is answered by one: ``open`` an artifact, tell its ``first`` outputs, make it
``warm``, take a ``turn``, tell the ``peak`` of memory, or run a module as a ``reference``. Between two of them nothing
runs here.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from s2deploy.artifacts import cannot_write_temporary
from s2deploy.child_process import answering
from s2deploy.errors import S2DeployError
from s2deploy.feeds import Feed
from s2deploy.pipeline.bench_runners import COMPILE, EAGER, ONNXRUNTIME, Runner, TorchRunner, Way, open_runner
from s2deploy.runtime.exchange import read_arrays, write_arrays
from s2deploy.runtime.serve import arrays_of, error_answer

_LIBRARIES = {EAGER: "torch", COMPILE: "torch", ONNXRUNTIME: "onnxruntime"}
_WARM_CALLS = 2
_MOST_WARM_CALLS = 50
_STILL_SECONDS = 0.001
_MOST_STILL_SECONDS = 0.1


def main(folder: str) -> None:
    """Answers commands until the parent is gone.

    Args:
        folder: Where arrays are exchanged.
    """
    commands, answer_with = answering()
    process = _Process()
    for command in commands:
        (name, argument), *others = command.items()
        try:
            answer = getattr(process, name)(argument, **dict(others))
        except MemoryError as error:
            answer = error_answer(S2DeployError(f"memory ran out: {error}", hint="measure smaller inputs: --input"))
        except S2DeployError as error:
            answer = error_answer(error)
        answer_with(answer)


class _Process:
    """A candidate and what it was given, from command to command."""

    def __init__(self) -> None:
        self._runner: Runner | None = None
        self._call: Callable[[], Any] = lambda: None
        self._seconds = 0.0
        self._before_bytes = 0

    def open(self, way: dict[str, Any]) -> dict[str, Any]:
        """Opens an artifact; its threads are fixed before any library is imported."""
        asked = Way(**way)
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = str(asked.threads)
        if asked.runner in _LIBRARIES:  # what they take is not the artifact's
            import_module(_LIBRARIES[asked.runner])
        self._before_bytes = peak_bytes()
        started = time.perf_counter()
        self._runner = open_runner(asked)
        self._seconds = time.perf_counter() - started
        return {
            "backend": self._runner.backend,
            "inputs": [[info.name, info.shape, info.dtype] for info in self._runner.inputs],
            "specs": [str(spec) for spec in self._runner.specs],
            "state": self._runner.state,
            "value_ranges": {s.name: s.value_range for s in self._runner.specs if s.value_range is not None},
        }

    def first(self, feed: str, into: str) -> dict[str, Any]:
        """Makes the first call."""
        assert self._runner is not None
        arrays = _read(feed)
        started = time.perf_counter()
        self._call = self._runner.prepare(arrays)
        made = self._call()
        seconds = self._seconds + time.perf_counter() - started
        _write(arrays_of(self._runner.outputs(made)), into)
        return {"seconds": seconds}

    def reference(self, feed: str, into: str) -> dict[str, Any]:
        """Runs the module as it is meant."""
        assert isinstance(self._runner, TorchRunner)
        outputs, overlaps = self._runner.reference(list(_read(feed).values()))
        _write(outputs, into)
        return {"overlaps": overlaps}

    def warm(self, seconds: float) -> dict[str, Any]:
        """Makes calls until caches, pools and clocks have settled."""
        started, calls = time.perf_counter(), 0
        while calls < _WARM_CALLS or (calls < _MOST_WARM_CALLS and time.perf_counter() - started < seconds):
            self._call()
            calls += 1
        become_still()
        return {}

    def turn(self, calls: int, warm: int) -> dict[str, Any]:
        """Makes calls and tells how long each took, and how long processors worked on it, in ms."""
        for _ in range(warm):
            self._call()
        assert self._runner is not None
        times, spent, device = [], [], []
        for _ in range(calls):
            started, before = time.perf_counter(), time.process_time()
            made = self._call()
            times.append(1e3 * (time.perf_counter() - started))
            spent.append(1e3 * (time.process_time() - before))
            del made  # freed outside the measured time, as a caller would who still reads it
            if self._runner.device_ms is not None:
                device.append(self._runner.device_ms)
        become_still()
        return {"ms": times, "device_ms": device, "cpu_ms": spent}

    def peak(self, _: None) -> dict[str, Any]:
        """Tells the most memory that the process had, and what it had before it opened the artifact."""
        return {"peak_bytes": peak_bytes(), "before_bytes": self._before_bytes}


def become_still() -> None:
    """Returns when no thread of this process computes any more.

    The pools of onnxruntime and OpenMP keep their threads spinning for a while after a call; on as many cores as
    threads they would take the next candidate's.
    """
    end = time.perf_counter() + _MOST_STILL_SECONDS
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(_STILL_SECONDS)
        if time.process_time() - before < _STILL_SECONDS / 2:
            return


def peak_bytes() -> int:
    """Returns the most memory this process has had at once."""
    try:
        with open("/proc/self/status", encoding="ascii") as stream:
            return next(1024 * int(line.split()[1]) for line in stream if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _read(folder: str) -> Feed:
    """Returns arrays in memory of this process, whose peak is told."""
    return {name: array.copy() for name, array in read_arrays(Path(folder)).items()}


def _write(arrays: Feed, folder: str) -> None:
    try:
        write_arrays(arrays, Path(folder))
    except OSError as error:
        raise cannot_write_temporary(Path(folder).parents[1], error) from error
