"""One candidate of `bench` in a process of its own: what it takes, gives, needs and how long it takes."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from s2deploy.benchmark import Turn
from s2deploy.child_process import ask, end, how_it_ended, last_words, start
from s2deploy.errors import (
    ArtifactError,
    FactoryError,
    InputSpecError,
    S2DeployError,
    SourceError,
    TargetUnavailableError,
    UntrustedPickleError,
    UsageError,
    ValidationError,
    WeightsError,
)
from s2deploy.feeds import Feed
from s2deploy.pipeline.bench_runners import Way
from s2deploy.runtime import TensorInfo
from s2deploy.runtime.exchange import read_arrays, write_arrays
from s2deploy.specs import TensorSpec, parse_inputs

_ERRORS: dict[str, type[S2DeployError]] = {
    error.__name__: error
    for error in (
        ArtifactError,
        FactoryError,
        InputSpecError,
        SourceError,
        TargetUnavailableError,
        UntrustedPickleError,
        UsageError,
        ValidationError,
        WeightsError,
    )
}


@dataclass(frozen=True)
class First:
    """What a candidate gave at its first call.

    Attributes:
        outputs: Its outputs.
        seconds: From opening the artifact to the end of the call.
        state: The outputs that are new values of buffers, which forward itself does not return.
    """

    outputs: Feed
    seconds: float
    state: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reference:
    """What a module gives under clone semantics.

    Attributes:
        outputs: Its outputs.
        overlaps: How many overlapping in-place operations run in a call.
    """

    outputs: Feed
    overlaps: int


class CandidateProcess:
    """A process that runs one candidate and does nothing unless told to.

    Args:
        way: What to run, and how.
        folder: An empty folder for arrays and the log.
    """

    def __init__(self, way: Way, folder: Path) -> None:
        self.way = way
        self._folder, self._log = folder, folder / "log.txt"
        self._process: subprocess.Popen[bytes] | None = None
        self.backend = ""
        self.inputs: tuple[TensorInfo, ...] = ()
        self.specs: tuple[TensorSpec, ...] = ()
        self.state: tuple[str, ...] = ()

    @property
    def pid(self) -> int:
        """The process's number."""
        assert self._process is not None
        return self._process.pid

    def open(self) -> None:
        """Starts the process and opens the artifact.

        Raises:
            S2DeployError: It cannot be opened; the process is ended.
        """
        with self._log.open("wb") as log:
            self._process = start("s2deploy.pipeline.bench_serve", self._folder, log=log, stdout=subprocess.PIPE)
        answer = self._ask({"open": self.way.to_dict()}, f"opening {self.way.artifact}")
        self.backend = answer["backend"]
        self.inputs = tuple(TensorInfo(name, tuple(shape), dtype) for name, shape, dtype in answer["inputs"])
        ranges = [f"{name}={low}..{high}" for name, (low, high) in answer["value_ranges"].items()]
        self.specs = parse_inputs(answer["specs"], ranges)
        self.state = tuple(answer["state"])

    def first(self, feed: Feed) -> First:
        """Makes the first call.

        Args:
            feed: The inputs, in the model's order and by its names where it has some.

        Raises:
            S2DeployError: It failed.
        """
        outputs, answer = self._run("first", feed, "running it for the first time")
        return First(outputs, answer["seconds"], self.state)

    def reference(self, feed: Feed) -> Reference:
        """Runs a module as it is meant; for PyTorch on the processor, in place of a first call, which may change state.

        Args:
            feed: The inputs, in the order of forward.

        Raises:
            S2DeployError: It failed.
        """
        outputs, answer = self._run("reference", feed, "running it under clone semantics")
        return Reference(outputs, answer["overlaps"])

    def warm(self, seconds: float) -> None:
        """Makes calls that are not measured.

        Raises:
            S2DeployError: It failed.
        """
        self._ask({"warm": seconds}, "warming up")

    def turn(self, calls: int, warm: int) -> Turn:
        """Makes `warm` calls that are not measured, and `calls` that are.

        Raises:
            S2DeployError: It failed.
        """
        answer = self._ask({"turn": calls, "warm": warm}, "being measured")
        return Turn(tuple(answer["ms"]), tuple(answer["device_ms"]), tuple(answer["cpu_ms"]))

    def memory(self) -> tuple[int, int]:
        """Returns the most memory of the process, and what it had before it opened the artifact, in bytes.

        Raises:
            S2DeployError: It died.
        """
        answer = self._ask({"peak": None}, "telling its memory")
        return answer["peak_bytes"], answer["before_bytes"]

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            end(self._process)
            self._process = None

    def __enter__(self) -> CandidateProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, command: str, feed: Feed, doing: str) -> tuple[Feed, dict[str, Any]]:
        given, made = self._folder / "feed", self._folder / "outputs"
        write_arrays(feed, given)
        answer = self._ask({command: str(given), "into": str(made)}, doing)
        return read_arrays(made), answer

    def _ask(self, command: dict[str, Any], doing: str) -> dict[str, Any]:
        assert self._process is not None
        answer = ask(self._process, command)
        if answer is None:
            raise self._death(doing)
        error = answer.get("error")
        if error is not None:
            raise _ERRORS.get(error["type"], S2DeployError)(error["message"], hint=error["hint"])
        return answer

    def _death(self, doing: str) -> S2DeployError:
        assert self._process is not None
        how, memory_ran_out = how_it_ended(self._process.wait())
        said = last_words(self._log)
        message = f"{self.way.label}: its process {how} while {doing}" + (f"; it said:\n{said}" if said else "")
        smaller = "measure smaller inputs, or fewer candidates at once: all of them are in memory together"
        return S2DeployError(message, hint=smaller if memory_ran_out else "run it alone to see what is wrong")


def reference_of(way: Way, feed: Feed, folder: Path) -> Reference:
    """Runs a PyTorch model as it is meant, in a process that nothing else runs in: a call may change its state.

    Args:
        way: The model.
        feed: The inputs, in the order of forward.
        folder: An empty folder for arrays and the log.

    Raises:
        S2DeployError: It failed.
    """
    with CandidateProcess(replace(way, device="cpu"), folder) as process:
        process.open()
        return process.reference(feed)
