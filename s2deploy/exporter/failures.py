"""Errors of torch's exporters in the user's terms: the line, the operator, the next step."""

from __future__ import annotations

import linecache
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from s2deploy.errors import ExportError, InputSpecError, S2DeployError
from s2deploy.exporter.causes import how_values_decide
from s2deploy.exporter.provenance import beginning, is_library
from s2deploy.specs import TensorSpec

if TYPE_CHECKING:
    import torch

_NOT_ACCEPTED = re.compile(
    r"values to unpack|Expected .*input|expected input|Dimension out of range|number of dimensions|rank"
    r"|too many indices|must match|must have (the )?same|reduction dim|cannot be multiplied|size mismatch"
    r"|is invalid for input of size|[Ss]calar type|dtype"
)
"""What PyTorch says where a tensor has the wrong shape or dtype."""


def is_constraint_violation(error: Exception) -> bool:
    """Whether torch.export traced the model but found that it restricts a dynamic dimension."""
    from torch._dynamo.exc import UserError, UserErrorType
    from torch.fx.experimental.symbolic_shapes import ConstraintViolationError

    if isinstance(error, ConstraintViolationError):
        return True
    if isinstance(error, UserError):
        return error.error_type is UserErrorType.CONSTRAINT_VIOLATION
    # torch's search for suggested fixes fails an assertion of its own on some constraints
    innermost = traceback.extract_tb(error.__traceback__)[-1].filename
    return isinstance(error, AssertionError) and innermost.endswith("symbolic_shapes.py")


def depends_on_data(error: Exception) -> bool:
    """Whether the model decides by the values of a tensor, at whatever size."""
    from torch._dynamo.exc import UserError, UserErrorType
    from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
    from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

    if isinstance(error, UserError) and error.error_type is UserErrorType.DYNAMIC_CONTROL_FLOW:
        return True
    kinds = (GuardOnDataDependentSymNode, DataDependentOutputException, DynamicOutputShapeException)
    return any(isinstance(link, kinds) for link in _chain(error))


def tracing_error(error: Exception, specs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> S2DeployError:
    """Translates an error that was raised while torch.export ran the model."""
    where = _user_line(error)
    at = f"{where}: " if where else ""
    if depends_on_data(error):
        does, advice = how_values_decide((where or "").partition(": ")[2])
        return ExportError(f"{at}the model {does}", hint=advice)
    said = _first_paragraph(error)
    if operator := _unsupported_operator(error):
        return ExportError(
            f"{at}torch.export cannot trace the operator {operator}: {said}",
            hint="replace it by operators that have a fake (meta) implementation, or register one",
        )
    shown = "; ".join(f"{spec.name} is {spec.dtype or 'float32'} {list(spec.shape(sizes))}" for spec in specs)
    if _NOT_ACCEPTED.search(said):
        fixed = "; a size that the model fixes is written as a number" if any(s.dynamic for s in specs) else ""
        return InputSpecError(
            f"{at}the model does not accept the inputs: {said}",
            hint=f"tried with {shown}; give the ranks, sizes and dtypes that its forward expects{fixed}",
        )
    return ExportError(
        f"{at}the model raised {type(error).__name__}: {said}",
        hint=f"tried with {shown}; if they are what it expects, run it once in PyTorch to find the cause",
    )


def translation_error(error: Exception, graph: torch.fx.Graph | None) -> ExportError:
    """Translates an error of `torch.onnx.export`.

    Args:
        error: What it raised for an exported program.
        graph: The decomposed program, as far as it got.
    """
    links = list(_chain(error))
    for link in links:
        if isinstance(link, ExportError):  # raised while the program is prepared, inside torch's exporter
            return link
    text = "\n".join(str(link) for link in links)
    at, operator = "", "an operator"
    failing = re.search(r"translating node %(\w+)", text)
    nodes = {node.name: node for node in graph.nodes} if graph is not None else {}
    if failing and failing[1] in nodes:
        node = nodes[failing[1]]
        at = beginning(node)
        operator = f"the operator {getattr(node.target, '__name__', node.target)}"
        operator = f"the operator {node.target}" if "." in str(node.target) else operator
    if "No ONNX function found" in text:
        return ExportError(
            f"{at}{operator} has no ONNX translation", hint="replace it in the model by operators that ONNX has"
        )
    return ExportError(
        f"{at}torch's ONNX exporter failed on {operator}: {_first_paragraph(links[-1])}",
        hint="replace what this line does in the model by simpler operators",
    )


def _unsupported_operator(error: Exception) -> str | None:
    from torch._subclasses.fake_tensor import UnsupportedOperatorException

    for link in _chain(error):
        if isinstance(link, UnsupportedOperatorException):
            return str(link.func)
        named = re.search(r"operator '([\w:.]+)'|(\w+::[\w.]+)", str(link))
        if isinstance(link, NotImplementedError) and named:
            return named[1] or named[2]
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _user_line(error: Exception) -> str | None:
    """Returns the innermost line of the user's code in a traceback, as ``file.py:LINE: source``."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not is_library(frame.filename)]
    if not frames or frames[-1].lineno is None:
        return None
    frame = frames[-1]
    source = (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip().rstrip(":")
    return f"{Path(frame.filename).name}:{frame.lineno}: {source}"


def _first_paragraph(error: BaseException) -> str:
    text = re.sub(r"\s*\n\s*", " ", str(error).strip().split("\n\n")[0])
    return text[:300] or type(error).__name__
