"""The process that runs ONNX files, one at a time; `s2deploy.runtime.worker` starts it.

Commands come as lines of JSON on standard input, each is answered by one line on standard output: ``{"open": path,
"optimized": bool}`` frees the model before and loads another, ``{"run": folder, "into": folder}`` runs it on arrays.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from s2deploy.artifacts import cannot_write
from s2deploy.errors import S2DeployError
from s2deploy.feeds import Feed
from s2deploy.runtime.exchange import read_arrays, write_arrays
from s2deploy.runtime.onnx_session import OnnxSession


def main(folder: str) -> None:
    """Answers commands until the parent is gone.

    Args:
        folder: The folder that arrays are exchanged in.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever native code prints belongs into the log
    session: OnnxSession | None = None
    for command in _commands():
        try:
            if "open" in command:
                session = None  # the one before is freed first: two models may not fit into memory
                session = OnnxSession(Path(command["open"]), optimized=command["optimized"])
                answer: dict[str, Any] = {}
            else:
                assert session is not None
                outputs = session(read_arrays(Path(command["run"])))
                write_arrays(_arrays(outputs), Path(command["into"]))
                del outputs
                answer = {}
        except OSError as error:
            answer = _error(cannot_write(Path(folder), error))
        except MemoryError as error:
            answer = _error(S2DeployError(f"memory ran out: {error}", hint="lower the largest sizes of --input"))
        except S2DeployError as error:
            answer = _error(error)
        print(json.dumps(answer), file=answers, flush=True)


def _commands() -> Iterator[dict[str, Any]]:
    """Yields commands; a thread of its own reads them, to end this process with its parent also during a run."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield json.loads(lines.get())


def _error(error: S2DeployError) -> dict[str, Any]:
    return {"error": {"type": type(error).__name__, "message": error.message, "hint": error.hint}}


def _arrays(outputs: dict[str, Any]) -> Feed:
    """Returns outputs as arrays: a sequence of tensors becomes one array each, an absent optional none.

    Raises:
        S2DeployError: An output is something else.
    """
    arrays: Feed = {}
    for name, value in outputs.items():
        if isinstance(value, np.ndarray):
            arrays[name] = value
        elif isinstance(value, list) and all(isinstance(item, np.ndarray) for item in value):
            arrays |= {f"{name}[{position}]": item for position, item in enumerate(value)}
        elif value is not None:
            raise S2DeployError(
                f"output {name!r} is a {type(value).__name__}, which cannot be compared",
                hint="export the model without that output, or with --no-validate",
            )
    return arrays
