"""The user's source line behind a TorchScript node, and Python frames that carry it.

A replayed operator is called through a function compiled under the user's file name and line, so that whatever
looks at the Python stack (torch.export's stack traces, overlap reports) sees the line the archive recorded.
"""

from __future__ import annotations

import linecache
import os
import re
from collections.abc import Callable
from functools import cache
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import torch

_TRACED = re.compile(r"^(?P<file>\S.*)\((?P<line>\d+)\): \S+$", re.MULTILINE)
_SCRIPTED = re.compile(r'^\s*(?P<serialized>Serialized\s+)?File "(?P<file>[^"]+)", line (?P<line>\d+)$', re.MULTILINE)


class SourceLine(NamedTuple):
    """A source file and a line number from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def source_line(node: torch.Node) -> SourceLine | None:
    """Returns the innermost recorded line outside torch; failing that the archive's own code; None without either."""
    text = str(node.sourceRange())
    for match in _TRACED.finditer(text):
        if not _is_torch(match["file"]):
            return SourceLine(match["file"], int(match["line"]))
    best = None
    for match in _SCRIPTED.finditer(text):
        line = SourceLine(match["file"], int(match["line"]))
        if match["serialized"] is None and not _is_torch(line.file):
            _remember(line, text[match.end() :])
            return line
        best = best or line
    return best


def calling_from(function: Callable[..., Any], line: SourceLine | None) -> Callable[..., Any]:
    """Returns the function, called from a Python frame at the given line."""
    if line is None:
        return function
    caller = FunctionType(_frame_at(line), {})

    def call(*values: Any) -> Any:
        return caller(function, values)

    return call


def _call(function: Callable[..., Any], values: tuple[Any, ...]) -> Any:
    return function(*values)


@cache
def _frame_at(line: SourceLine) -> CodeType:
    # The call is one line below the def that the number belongs to.
    return _call.__code__.replace(co_filename=line.file, co_firstlineno=line.line - 1, co_name="forward")


def _is_torch(file: str) -> bool:
    return file.startswith(os.path.dirname(torch.__file__)) or "-packages/torch/" in file.replace("\\", "/")


def _remember(line: SourceLine, recorded: str) -> None:
    """Gives `linecache` the recorded text of a line whose file is not on this machine."""
    lines = recorded.partition("\nSerialized")[0].splitlines()
    marks = [i for i, text in enumerate(lines) if "<--- HERE" in text]
    if not marks or os.path.exists(line.file):
        return
    known = list(linecache.cache[line.file][2]) if line.file in linecache.cache else []  # type: ignore[misc]
    known += ["\n"] * (line.line - len(known))
    known[line.line - 1] = lines[marks[0] - 1] + "\n"
    linecache.cache[line.file] = (sum(map(len, known)), None, known, line.file)
