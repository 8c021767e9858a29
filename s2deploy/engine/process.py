"""Runs a build in a process of its own, and puts into words how that process ended."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from s2deploy import child_process
from s2deploy.engine.child import ANSWER
from s2deploy.engine.diagnosis import diagnose, last_words
from s2deploy.engine.progress import PROGRESS, Phase, follow
from s2deploy.engine.request import Answer, Request
from s2deploy.errors import BuildError

if TYPE_CHECKING:
    import onnx_ir as ir


_GRACE_SECONDS = 1.0


def run_build(
    request: Request,
    folder: Path,
    model: ir.Model,
    on_start: Callable[[int], None] = lambda pid: None,
    on_phase: Callable[[Phase], None] = lambda phase: None,
) -> Answer:
    """Builds in a child process and returns its answer.

    When it is interrupted, a builder that tells its progress is asked to stop, and any other ended.

    Args:
        request: What to build.
        folder: An empty folder for the messages between the two.
        model: The model itself, which knows where its nodes came from.
        on_start: Called with the child's process id once it runs.
        on_phase: Called with what TensorRT is doing, where it tells.

    Raises:
        BuildError: TensorRT refused the model, or its process died.
        CapabilityError: A capability lacks a type the model computes in.
    """
    (folder / "request.json").write_text(request.to_json(), encoding="utf-8")
    log_path = folder / "log.txt"
    with log_path.open("wb") as log:
        process = child_process.start("s2deploy.engine.child", folder, log=log, stdout=log)
        try:
            on_start(process.pid)
            follow(folder / PROGRESS, partial(_has_ended, process), on_phase)
        except BaseException:
            if (folder / PROGRESS).is_file():
                child_process.ask_to_stop(process, _GRACE_SECONDS)
            raise
        finally:
            code = child_process.end(process)
    log_text = log_path.read_text(encoding="utf-8", errors="replace")
    answer_path = folder / ANSWER
    if code != 0 or not answer_path.is_file():
        raise _death(code, log_text)
    answer = Answer.from_json(answer_path.read_text(encoding="utf-8"))
    if answer.error is not None:
        raise diagnose(answer.error, log_text, model)
    return answer


def _has_ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _death(code: int, log_text: str) -> BuildError:
    how, memory_ran_out = child_process.how_it_ended(code)
    if memory_ran_out:
        hint = "free memory, lower the largest sizes of the model's ranges, or build on a larger machine"
    elif code < 0:
        hint = "build a smaller part of the model to find the operator, and report it to TensorRT with the model"
    else:
        hint = "check the space left on the disk and in memory, and run it again"
    said = last_words(log_text)
    return BuildError(f"TensorRT's process {how}" + (f"; it said:\n{said}" if said else ""), hint=hint)
