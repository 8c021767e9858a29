"""Where an ONNX node comes from, as ``file.py:LINE`` of the user's code, and nothing else of what torch records."""

from __future__ import annotations

import itertools
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch.fx import Node

SOURCE = "s2deploy.source"
"""Key of a node's metadata: the line of Python that caused it."""

_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')
_INSTALLED = re.compile(r"[/\\](?:site|dist)-packages[/\\](\w+)")


@contextmanager
def every_user_line() -> Iterator[None]:
    """Makes torch.export record the lines of functions that forward calls, not those of forward alone.

    torch keeps a frame that is called ``forward`` or belongs to a function registered as an anchor. Inside this context
    every function outside torch is one; where torch has no anchors, the lines are those of forward.
    """
    from torch.fx import proxy

    anchors = getattr(proxy, "_STACK_TRACE_ANCHORS", None)
    if anchors is None:
        yield
        return
    try:
        proxy._STACK_TRACE_ANCHORS = _UserFunctions()
        yield
    finally:
        proxy._STACK_TRACE_ANCHORS = anchors


@contextmanager
def every_guard_line() -> Iterator[None]:
    """Makes torch.export record with each guard the line of the user's that ran the operator it comes from.

    torch records the innermost frame outside of a few of its own files, which for an operator is another of its own.
    """
    from torch.fx.experimental import symbolic_shapes

    kept: Any = getattr(symbolic_shapes.ShapeEnv, "_get_stack_summary", None)
    passed_over: Any = getattr(symbolic_shapes, "uninteresting_files", None)
    if kept is None or passed_over is None:
        yield
        return

    def summary(self: Any, *args: Any, **kwargs: Any) -> Any:
        location, more = kept(self, *args, **kwargs)
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and is_library(frame.f_code.co_filename):
            frame = frame.f_back
        if frame is None:
            return location, more
        line = traceback.FrameSummary(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        return type(location)(location.framework_loc, line), more

    passed_over().add(summary.__code__.co_filename)
    symbolic_shapes.ShapeEnv._get_stack_summary = summary  # type: ignore[method-assign]
    try:
        yield
    finally:
        symbolic_shapes.ShapeEnv._get_stack_summary = kept  # type: ignore[method-assign]
        passed_over().discard(summary.__code__.co_filename)


def asking_frame(location: Any) -> traceback.FrameSummary | None:
    """Returns the line of the user's that compares a size itself, given where a guard comes from."""
    frame = getattr(location, "framework_loc", None)
    return frame if isinstance(frame, traceback.FrameSummary) and not is_library(frame.filename) else None


def running_frame(location: Any) -> traceback.FrameSummary | None:
    """Returns the line of the user's that runs the operator a guard comes from; see `every_guard_line`."""
    frame = getattr(location, "maybe_user_loc", None)
    return frame if isinstance(frame, traceback.FrameSummary) else None


def place(frame: traceback.FrameSummary) -> str:
    """Returns a frame as ``file.py:LINE``."""
    return f"{Path(frame.filename).name}:{frame.lineno}"


def keep_source_lines(model: ir.Model) -> None:
    """Replaces torch's metadata of nodes, values and graph, which is larger than many a graph, by `SOURCE`."""
    import onnx_ir as ir

    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        graph.metadata_props.clear()
        for value in graph.inputs:
            value.metadata_props.clear()
        for node in ir.traversal.RecursiveGraphIterator(graph):
            line = source_line(node.metadata_props.get("pkg.torch.onnx.stack_trace", ""))
            node.metadata_props.clear()
            node.meta.clear()
            if line:
                node.metadata_props[SOURCE] = line
            for value in node.outputs:
                value.metadata_props.clear()
    for value in model.graph.initializers.values():
        value.metadata_props.clear()
    model.metadata_props.clear()


@cache
def source_line(stack_trace: str) -> str | None:
    """Returns the innermost line outside torch in a stack trace as torch.export writes it, as ``file.py:LINE``."""
    frames = itertools.dropwhile(lambda frame: frame[2] != "forward", _FRAME.findall(stack_trace))
    own = [(file, line) for file, line, _ in frames if not is_library(file)]
    if not own:
        return None
    file, line = own[-1]
    return f"{Path(file).name}:{line}"


def beginning(node: Node) -> str:
    """Returns how a message about a node of a program begins: its line and a colon, nothing where that is not known."""
    line = source_line(node.meta.get("stack_trace") or "")
    return f"{line}: " if line else ""


@cache
def is_library(file: str) -> bool:
    """Whether a source file belongs to Python, torch, torch's ONNX exporter or this package."""
    path = Path(file)
    if file.startswith("<") or path.is_relative_to(Path(__file__).parents[1]):
        return True
    installed = _INSTALLED.search(file)
    if installed:
        return installed[1] in ("torch", "onnxscript", "onnx_ir", "sympy")
    return not path.is_absolute() or path.is_relative_to(Path(traceback.__file__).parent)


class _UserFunctions(set[tuple[str, str]]):
    """The file and name of every function outside torch and this package."""

    def __contains__(self, function: object) -> bool:
        return isinstance(function, tuple) and not is_library(function[0])
