"""ONNX files run in a process of their own, one at a time: crashes and memory that runs out end it, not the command."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

from s2deploy.artifacts import cannot_write
from s2deploy.child_process import ask, end, how_it_ended, last_words, start
from s2deploy.errors import ArtifactError, S2DeployError, UsageError
from s2deploy.feeds import Feed
from s2deploy.runtime.exchange import read_arrays, write_arrays

_ERRORS: dict[str, type[S2DeployError]] = {error.__name__: error for error in (ArtifactError, UsageError)}
_SMALLER = "free memory, lower the largest sizes of --input, or use a larger machine"
_REPORT = "run the file with onnxruntime alone; if that crashes too, report it there with the model"


class Worker:
    """Runs ONNX files on onnxruntime in a child process, which holds one of them at a time.

    Args:
        folder: An existing folder for feeds, outputs and a log; outputs stay on its disk until they are freed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "log.txt"
        self._numbers = count()
        self._process: subprocess.Popen[bytes] | None = None
        self._open: object = None

    def start(self) -> None:
        """Starts the process unless it runs; the work goes on meanwhile."""
        if self._process is None:
            with self._log.open("wb") as log:
                self._process = start("s2deploy.runtime.serve", self._folder, log=log, stdout=subprocess.PIPE)

    def side(self, path: Path, *, optimized: bool = True) -> Callable[[Feed], Feed]:
        """Returns a function that runs a file, loaded when it is first run and whenever another one ran in between.

        Args:
            path: The file; external data is found beside it.
            optimized: Whether onnxruntime may rearrange the graph; otherwise it computes node by node.
        """
        identity = object()  # not the path: a file may be written again
        return lambda feed: self._run(identity, path, optimized, feed)

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            end(self._process)
        self._process, self._open = None, None

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, identity: object, path: Path, optimized: bool, feed: Feed) -> Feed:
        """Runs a file.

        Raises:
            ArtifactError: onnxruntime cannot load the file, or the disk is full.
            UsageError: The feed does not fit the model.
            S2DeployError: onnxruntime failed or its process died.
        """
        self.start()
        if self._open is not identity:
            self._open = None
            self._ask({"open": str(path.absolute()), "optimized": optimized}, f"loading {path}", ArtifactError)
            self._open = identity
        given, made = (self._folder / f"{kind}-{next(self._numbers)}" for kind in ("feed", "outputs"))
        try:
            write_arrays(feed, given)
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        self._ask({"run": str(given), "into": str(made)}, f"running {path.name}", S2DeployError)
        return read_arrays(made)

    def _ask(self, command: dict[str, Any], doing: str, kind: type[S2DeployError]) -> None:
        process = self._process
        assert process is not None
        answer = ask(process, command)
        if answer is None:
            raise self._death(doing, kind)
        error = answer.get("error")
        if error is not None:
            raise _ERRORS.get(error["type"], S2DeployError)(error["message"], hint=error["hint"])

    def _death(self, doing: str, kind: type[S2DeployError]) -> S2DeployError:
        assert self._process is not None
        code = self._process.wait()
        self.close()
        how, memory_ran_out = how_it_ended(code)
        said = last_words(self._log)
        message = f"onnxruntime's process {how} while {doing}" + (f"; it said:\n{said}" if said else "")
        return kind(message, hint=_SMALLER if memory_ran_out else _REPORT)
