"""The process that runs ONNX files, one at a time; `s2deploy.runtime.worker` starts it.

Commands come as lines of JSON on standard input, each is answered by one line on standard output: ``{"open": path,
"optimized": bool}`` frees the model before and loads another, ``{"run": folder, "into": folder}`` runs it on arrays.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from s2deploy.artifacts import cannot_write
from s2deploy.child_process import answering
from s2deploy.errors import S2DeployError
from s2deploy.feeds import Feed
from s2deploy.runtime.exchange import read_arrays, write_arrays
from s2deploy.runtime.onnx_session import OnnxSession


def main(folder: str) -> None:
    """Answers commands until the parent is gone.

    Args:
        folder: The folder that arrays are exchanged in.
    """
    commands, answer_with = answering()
    session: OnnxSession | None = None
    for command in commands:
        try:
            if "open" in command:
                session = None  # the one before is freed first: two models may not fit into memory
                session = OnnxSession(Path(command["open"]), optimized=command["optimized"])
                answer: dict[str, Any] = {}
            else:
                assert session is not None
                outputs = session(read_arrays(Path(command["run"])))
                write_arrays(arrays_of(outputs), Path(command["into"]))
                del outputs
                answer = {}
        except OSError as error:
            answer = error_answer(cannot_write(Path(folder), error))
        except MemoryError as error:
            answer = error_answer(S2DeployError(f"memory ran out: {error}", hint="lower the largest sizes of --input"))
        except S2DeployError as error:
            answer = error_answer(error)
        answer_with(answer)


def error_answer(error: S2DeployError) -> dict[str, Any]:
    """Returns an error as an answer to the parent."""
    return {"error": {"type": type(error).__name__, "message": error.message, "hint": error.hint}}


def arrays_of(outputs: dict[str, Any]) -> Feed:
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
