"""Processes of our own for what can crash, run out of memory, or leave its state behind: started, ended, and mourned.

The child sees exactly the modules its parent sees, ends when the parent does, and is no part of the terminal's process
group, so that Ctrl-C reaches the parent alone, which then ends the child for certain.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

# `python -m` would let files of the working folder come first
_BOOTSTRAP = (
    "import importlib, sys; module, folder, *path = sys.argv[1:]; sys.path[:] = path; "
    "importlib.import_module(module).main(folder)"
)
_WORDS_BYTES = 2000


def start(module: str, folder: Path, *, log: IO[bytes], stdout: int | IO[bytes]) -> subprocess.Popen[bytes]:
    """Starts ``module.main(folder)`` in a process of its own, with a pipe to its standard input.

    Args:
        module: A module with a function `main`.
        folder: What `main` is given.
        log: Where its standard error goes.
        stdout: Where its standard output goes; ``subprocess.PIPE`` to read it.
    """
    command = [sys.executable, "-c", _BOOTSTRAP, module, str(folder), *sys.path]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=stdout, stderr=log, start_new_session=True, bufsize=0
    )


def ask(process: subprocess.Popen[bytes], command: dict[str, Any]) -> dict[str, Any] | None:
    """Gives a command to a child that answers with `answering`, and returns its answer; None where it is dead."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(command).encode() + b"\n")
        line = process.stdout.readline()
    except BrokenPipeError:
        return None
    answer: dict[str, Any] | None = json.loads(line) if line else None
    return answer


def answering() -> tuple[Iterator[dict[str, Any]], Callable[[dict[str, Any]], None]]:
    """Returns the parent's commands as they come, and what gives an answer; called once, in the child.

    A thread of its own reads the commands, to end this process with its parent also during a command. Whatever native
    code prints on standard output goes into the log from here on.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    def commands() -> Iterator[dict[str, Any]]:
        while True:
            yield json.loads(lines.get())

    threading.Thread(target=read, daemon=True).start()
    return commands(), lambda answer: print(json.dumps(answer), file=answers, flush=True)


def end(process: subprocess.Popen[Any]) -> int:
    """Ends a process that has not ended by itself, closes the pipes to it, and returns its exit code."""
    if process.poll() is None:
        process.kill()
    code = process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    return code


def how_it_ended(code: int) -> tuple[str, bool]:
    """Returns in words how a process ended, and whether memory has probably run out."""
    if code == -signal.SIGKILL:
        return "was killed, which is what the system does when memory runs out", True
    if code < 0:
        return f"crashed ({signal.Signals(-code).name})", False
    return f"ended with code {code}", False


def last_words(log: Path) -> str:
    """Returns the end of a child's log."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _WORDS_BYTES))
        return stream.read().decode("utf-8", errors="replace").strip()


def end_with_parent(asked_to_stop: Callable[[], None] = lambda: None) -> None:
    """Ends this process when its parent does, however it does: the pipe it holds open is then closed.

    Called in a child that reads nothing from its standard input.

    Args:
        asked_to_stop: Called when the parent asks with `ask_to_stop`.
    """
    threading.Thread(target=_wait_for_end, args=(asked_to_stop,), daemon=True).start()


def ask_to_stop(process: subprocess.Popen[Any], seconds: float) -> None:
    """Asks a child to stop by itself and gives it some time to."""
    assert process.stdin is not None
    with suppress(OSError, subprocess.TimeoutExpired):
        process.stdin.write(b"\n")
        process.wait(seconds)


def _wait_for_end(asked_to_stop: Callable[[], None]) -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock must be free at the interpreter's end
        asked_to_stop()
    os._exit(1)
