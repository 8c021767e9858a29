"""The user's line behind an operator: from the Python stack, or from what an exported program recorded."""

from __future__ import annotations

import linecache
import re
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch

_TORCH = str(Path(torch.__file__).parent)
_OURS = str(Path(__file__).parents[1])
_RUNNER = (str(Path(__file__).with_name("__init__.py")), "_run")
_RECORDED = re.compile(r'File "(?P<file>[^"\n]+)", line (?P<line>\d+)[^\n]*(?:\n(?P<source>(?!\s*File ")[^\n]*))?')


class Line(NamedTuple):
    """A line of source: its file, its number from 1, and its text without indentation ("" if unknown)."""

    file: str
    number: int
    source: str


UNKNOWN = Line("<unknown>", 0, "")


def from_stack() -> Line:
    """Returns the innermost frame inside the running model that is neither torch's nor this package's.

    The search ends where this package called the model: frames further out belong to whoever runs the export.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (frame.f_code.co_filename, frame.f_code.co_name) != _RUNNER:
        file = frame.f_code.co_filename
        if not _is_internal(file):
            return Line(file, frame.f_lineno, linecache.getline(file, frame.f_lineno).strip())
        frame = frame.f_back
    return UNKNOWN


def from_error(error: BaseException) -> Line:
    """Returns the innermost line of the model that an error went through."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not _is_internal(frame.filename):
            return Line(frame.filename, frame.lineno or 0, (frame.line or "").strip())
    return UNKNOWN


def from_node(node: torch.fx.Node) -> Line:
    """Returns the user's line that torch.export recorded for a node of its graph.

    It records frames of functions named ``forward`` only: a write in a function that forward calls is told by the
    line of the call.
    """
    recorded: Any = node.meta.get("stack_trace") or ""
    for match in reversed(list(_RECORDED.finditer(recorded))):
        if not _is_internal(match["file"]):
            source = match["source"] or linecache.getline(match["file"], int(match["line"]))
            return Line(match["file"], int(match["line"]), source.strip())
    return UNKNOWN


def _is_internal(file: str) -> bool:
    """Whether a frame is torch's (of any installation: programs are exported elsewhere), generated, or ours."""
    return file.startswith(("<", _TORCH, _OURS)) or "-packages/torch/" in file.replace("\\", "/")


class LocatingInterpreter(torch.fx.Interpreter):
    """Runs a graph module node by node and knows which node is running."""

    line: Line = UNKNOWN

    def run_node(self, n: torch.fx.Node) -> Any:
        """Runs one node, having noted its recorded line."""
        self.line = from_node(n)
        return super().run_node(n)
