"""Translates TensorRT's log into one message with a next step, the original words kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from s2deploy.errors import BuildError, CapabilityError

_NODE = re.compile(r"In node \d+ with name: (?P<name>.*?) and operator: (?P<op>\w+) \(")
_PARSED = re.compile(r"While parsing node number \d+ \[\w+ -> \"(?P<output>[^\"]*)\"")
_PREFIX = re.compile(r"^\[[EF!]\] ")
# where the parser was, which its next line says again; and the driver's absence, which no build minds
_NOISE = re.compile(r"ModelImporter\.cpp:\d+: ---|While parsing node number|catchCudaError|Could not parse ONNX")
_LONGEST = 1200
_LAST_LINES = 5


class TensorRTLog(Exception):
    """TensorRT's log of a failed build, the cause of the `BuildError` that summarises it."""


@dataclass(frozen=True)
class _Diagnosis:
    pattern: re.Pattern[str]
    message: Callable[[re.Match[str], str], str]
    hint: str
    error: type[BuildError] | type[CapabilityError] = BuildError


_DIAGNOSES = (
    _Diagnosis(
        re.compile(r"Cannot compile operation '.*?' for Turing \(SM75\): (?P<what>.*?) is not supported"),
        lambda match, _: f"compute capability 7.5 has no {match['what']}",
        "leave 7.5 out, or build with --fp16",
        CapabilityError,
    ),
    _Diagnosis(
        re.compile(r"Cannot compile for target\(s\) (?P<where>.*?), because the model contains HW-specific datatypes"),
        lambda match, _: f"the model computes in a type that {match['where']} lacks",
        "leave that compute capability out",
        CapabilityError,
    ),
    _Diagnosis(
        re.compile(r"ShapeInputError: input (?P<name>'.*') holds sizes"),
        lambda match, _: f"input {match['name']} holds sizes, whose values TensorRT would have to know beforehand",
        "export the model with these sizes as constants, or taken from the shape of another input",
    ),
    _Diagnosis(
        re.compile(r"UNSUPPORTED_NODE|Plugin not found|No importer registered"),
        lambda _, node: f"TensorRT does not support {node or 'a part of the model'}",
        "express it in other operators or types; the ONNX file itself runs on onnxruntime",
    ),
    _Diagnosis(
        re.compile(r"out of memory|OutOfMemory|bad_alloc|MemoryError", re.IGNORECASE),
        lambda *_: "memory ran out",
        "lower the largest sizes of the model's ranges, or build on a larger machine",
    ),
    _Diagnosis(
        re.compile(r"No space left on device"),
        lambda *_: "the disk is full",
        "free some space or write to another disk",
    ),
    _Diagnosis(
        re.compile(r"ModuleNotFoundError|ImportError|could not be imported|cannot open shared object file"),
        lambda *_: "TensorRT cannot be imported",
        'install it again, e.g. pip install --force-reinstall "s2deploy[rtx]"',
    ),
)
_FALLBACK_HINT = "these words are TensorRT's own; a node they name can be found in the ONNX file with netron"


def diagnose(error: str, log: str) -> BuildError | CapabilityError:
    """Returns the error that a failed build should raise.

    Args:
        error: What the building process raised.
        log: Everything it and TensorRT printed.
    """
    errors = error_lines(log)
    text = "\n".join([*errors, error])
    node = _describe_node(log)
    said = _indented(errors or [error])
    for diagnosis in _DIAGNOSES:
        match = diagnosis.pattern.search(text)
        if match is not None:
            found = diagnosis.error(f"{diagnosis.message(match, node)}; TensorRT says:\n{said}", hint=diagnosis.hint)
            break
    else:
        where = f" at {node}" if node else ""
        found = BuildError(f"TensorRT cannot build the model{where}; it says:\n{said}", hint=_FALLBACK_HINT)
    found.__cause__ = TensorRTLog(f"{log}\n{error}")
    return found


def last_words(log: str) -> str:
    """Returns what a process said before it died: its errors, or else its last lines; indented."""
    lines = [line for line in log.splitlines() if line.strip() and "'colored' module" not in line]
    return _indented(error_lines(log) or lines[-_LAST_LINES:])


def error_lines(log: str) -> list[str]:
    """Returns the lines of a log that tell errors, each once."""
    lines = (line.rstrip() for line in log.splitlines())
    return list(dict.fromkeys(line for line in lines if _PREFIX.match(line) and not _NOISE.search(line)))


def _indented(lines: list[str]) -> str:
    return "\n".join("  " + _PREFIX.sub("", line) for line in lines)[:_LONGEST]


def _describe_node(text: str) -> str:
    """Returns the operator the parser stopped at, with its name or output; nothing where it did not."""
    node = _NODE.search(text)
    if node is None:
        return ""
    parsed = _PARSED.search(text)
    if node["name"] or parsed is None:
        return f"{node['op']} {node['name']!r}"
    return f"{node['op']}, which makes {parsed['output']!r}"
