"""Errors of torch's exporters in the user's terms: the line, the operator, the next step."""

from __future__ import annotations

import linecache
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from s2deploy.errors import ExportError, InputSpecError, S2DeployError, UsageError
from s2deploy.specs import TensorSpec

_NOT_ACCEPTED = re.compile(
    r"values to unpack|Expected .*input|Dimension out of range|must match|cannot be multiplied|size mismatch"
    r"|[Ss]calar type|dtype|is invalid for input of size|must have the same|number of dimensions|rank|too many indices",
)
"""What PyTorch says where a tensor has the wrong shape or dtype."""


def raised_by_model(error: Exception) -> bool:
    """Whether the model itself raised, so that other example sizes may succeed."""
    return not (isinstance(error, S2DeployError) or is_constraint_violation(error) or _depends_on_data(error))


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


def tracing_error(error: Exception, specs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> S2DeployError:
    """Translates an error that was raised while torch.export ran the model."""
    where = _user_line(error)
    at = f"{where}: " if where else ""
    if _depends_on_data(error):
        return ExportError(
            f"{at}the model decides by the values of a tensor, which an exported graph cannot",
            hint="use torch.where for both outcomes, torch.cond to branch, or make it a setting of the model",
        )
    said = _first_paragraph(error)
    if operator := _unsupported_operator(error):
        return ExportError(
            f"{at}torch.export cannot trace the operator {operator}: {said}",
            hint="replace it by operators that have a fake (meta) implementation, or register one",
        )
    shown = "; ".join(f"{spec.name} is {spec.dtype or 'float32'} {list(spec.shape(sizes))}" for spec in specs)
    if _NOT_ACCEPTED.search(said):
        return InputSpecError(
            f"{at}the model does not accept the inputs: {said}",
            hint=f"tried with {shown}; give the ranks, sizes and dtypes that its forward expects with --input",
        )
    return ExportError(
        f"{at}the model raised {type(error).__name__}: {said}",
        hint=f"tried with {shown}; if they are what it expects, run it once in PyTorch to find the cause",
    )


def translation_error(error: Exception) -> ExportError:
    """Translates an error of `torch.onnx.export` on an exported program."""
    chain = list(_chain(error))
    text = "\n".join(str(link) for link in chain)
    missing = re.search(r"No ONNX function found for (?:<OpOverload\(op='([^']+)', overload='([^']+)'\)>|(\S+))", text)
    frames = re.findall(r'File "?([^",\n]+)"?[:,] (?:line )?(\d+)', text)
    at = next((f"{Path(file).name}:{line}: " for file, line in frames if not _is_library(file)), "")
    if missing:
        name = missing[3] or f"{missing[1]}.{missing[2]}"
        return ExportError(
            f"{at}the operator {name} has no ONNX translation",
            hint="replace it in the model by operators that ONNX has",
        )
    return ExportError(
        f"{at}torch's ONNX exporter failed: {_first_paragraph(chain[-1])}",
        hint="replace what this line does in the model by simpler operators",
    )


def _depends_on_data(error: Exception) -> bool:
    from torch._dynamo.exc import UserError, UserErrorType
    from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
    from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

    if isinstance(error, UserError) and error.error_type is UserErrorType.DYNAMIC_CONTROL_FLOW:
        return True
    kinds = (GuardOnDataDependentSymNode, DataDependentOutputException, DynamicOutputShapeException)
    return any(isinstance(link, kinds) for link in _chain(error))


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
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_library(frame.filename)]
    if not frames or frames[-1].lineno is None:
        return None
    frame = frames[-1]
    source = (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip()
    return f"{Path(frame.filename).name}:{frame.lineno}: {source}"


def _is_library(file: str) -> bool:
    import torch

    here = str(Path(__file__).parent)
    return file.startswith((str(Path(torch.__file__).parent), here, "<")) or "onnxscript" in file


def _first_paragraph(error: BaseException) -> str:
    text = re.sub(r"\s*\n\s*", " ", str(error).strip().split("\n\n")[0])
    return text[:300] or type(error).__name__


__all__ = ["UsageError", "is_constraint_violation", "raised_by_model", "tracing_error", "translation_error"]
