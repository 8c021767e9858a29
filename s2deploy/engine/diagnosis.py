"""Translates TensorRT's log into one message with a next step, the original words kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from s2deploy.errors import BuildError, CapabilityError

_NODE = re.compile(r"In node \d+ with name: (?P<name>.*?) and operator: (?P<op>\w+)")
_LINE = re.compile(r"^\[[EW!F]\] ")
_LONGEST = 1200


class TensorRTLog(Exception):
    """TensorRT's log of a failed build, the cause of the `BuildError` that summarises it."""


@dataclass(frozen=True)
class _Diagnosis:
    pattern: re.Pattern[str]
    message: Callable[[re.Match[str]], str]
    hint: str
    error: type[BuildError] | type[CapabilityError] = BuildError


_DIAGNOSES = (
    _Diagnosis(
        re.compile(r"Cannot compile operation '(?P<op>.*?)' for Turing \(SM75\): (?P<why>.*?) is not supported"),
        lambda match: f"compute capability 7.5 has no {match['why']} ({match['op']})",
        "leave 7.5 out, or build with --fp16",
        CapabilityError,
    ),
    _Diagnosis(
        re.compile(
            r"(?:UNSUPPORTED_NODE|No importer registered for op|Plugin not found|getPluginCreator could not find)"
            r"(?:.*?op:? *(?P<op>[\w:.]+))?",
            re.DOTALL,
        ),
        lambda match: f"TensorRT has no operator {match['op']}" if match["op"] else "TensorRT lacks an operator",
        "express it in other operators, or export with another --opset",
    ),
    _Diagnosis(
        re.compile(r"dynamic or shape inputs, but no optimization profile"),
        lambda match: "an input is dynamic and has no range to build for",
        'say which sizes it takes: --input "NAME:batch=1..8..64,..."',
    ),
    _Diagnosis(
        re.compile(r"out of memory|OutOfMemory|bad_alloc|MemoryError", re.IGNORECASE),
        lambda match: "memory ran out",
        "lower the largest sizes of the model's ranges, or build on a larger machine",
    ),
    _Diagnosis(
        re.compile(r"No space left on device"),
        lambda match: "the disk is full",
        "free some space or write to another disk",
    ),
    _Diagnosis(
        re.compile(r"ModuleNotFoundError|ImportError|cannot open shared object file"),
        lambda match: "TensorRT cannot be imported",
        "install it again, e.g. pip install --force-reinstall tensorrt_rtx",
    ),
)
_FALLBACK_HINT = "the lines above are TensorRT's own; a node they name can be found in the ONNX file with netron"


def diagnose(error: str, log: str) -> BuildError | CapabilityError:
    """Returns the error that a failed build should raise.

    Args:
        error: What the building process raised.
        log: Everything it and TensorRT printed.
    """
    text = f"{log}\n{error}"
    said = essence(text)
    node = _NODE.search(text)
    where = f" at {node['op']} {node['name']!r}" if node is not None else ""
    for diagnosis in _DIAGNOSES:
        match = diagnosis.pattern.search(text)
        if match is not None:
            found = diagnosis.error(f"{diagnosis.message(match)}{where}; TensorRT says:\n{said}", hint=diagnosis.hint)
            break
    else:
        found = BuildError(f"TensorRT cannot build the model{where}; it says:\n{said}", hint=_FALLBACK_HINT)
    found.__cause__ = TensorRTLog(text)
    return found


def essence(log: str) -> str:
    """Returns the lines of a log that tell errors, each once; its end where none do."""
    lines = [line.rstrip() for line in log.splitlines() if line.strip()]
    errors = list(dict.fromkeys(line for line in lines if line.startswith(("[E]", "[F]"))))
    chosen = errors or [line for line in lines if not line.startswith("[W] 'colored'")][-5:]
    return "\n".join("  " + _LINE.sub("", line) for line in chosen)[:_LONGEST]
