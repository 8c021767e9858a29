"""Exported programs (``.pt2``): vetted, loaded, and described as input specs."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from s2deploy.environment import quiet
from s2deploy.errors import ArtifactError, SourceError, UntrustedPickleError
from s2deploy.model.program_archive import vet
from s2deploy.specs import Dim, TensorSpec

_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_SAFE_WAYS = (
    "give FILE.py:FACTORY --weights STATE_DICT, or an ONNX file; "
    "only if you trust the origin of the file, use --trust-pickle"
)


def load(path: Path, *, trust_pickle: bool = False) -> tuple[torch.export.ExportedProgram, torch.nn.Module]:
    """Loads an exported program and the module that runs it, having made sure that opening it runs nothing.

    Args:
        path: An existing ``.pt2`` file.
        trust_pickle: Whether what is pickled in it may run.

    Raises:
        UntrustedPickleError: A part of it could run code and it is not trusted.
        ArtifactError: It is damaged or of another torch version.
        SourceError: It calls operators that are not registered here.
    """
    content = path.read_bytes()
    if not trust_pickle:
        try:
            vet(content)
        except UntrustedPickleError as error:
            raise UntrustedPickleError(f"{path}: {error.message}", hint=_SAFE_WAYS) from error
        except ArtifactError as error:
            raise ArtifactError(f"{path}: {error.message}", hint=error.hint) from error
    try:
        # torch logs tracebacks of what it then raises, and of fallbacks that succeed
        with _weights_only(not trust_pickle), quiet():
            program = torch.export.load(io.BytesIO(content))
            return program, program.module()
    except Exception as error:  # torch raises KeyError, AssertionError, SerializeError, RuntimeError, ...
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "custom op" in str(error):
            raise SourceError(
                f"{path}: {text}", hint="the program calls custom operators; export it again without them"
            ) from error
        raise ArtifactError(
            f"{path} is not an exported program this torch {torch.__version__} can open: {text}",
            hint="it may be truncated, or written by another version of torch; save it again with torch.export.save",
        ) from error


def is_static(program: torch.export.ExportedProgram) -> bool:
    """Returns whether every input of the program has one fixed shape; such a program cannot be given ranges."""
    return not any(spec.dynamic for spec in input_specs(program))


def input_specs(program: torch.export.ExportedProgram) -> tuple[TensorSpec, ...]:
    """Returns the program's inputs in the order of forward, with the ranges it was exported for.

    A dimension is named after its symbol. Its opt is the size it was exported at, moved into the range; where the
    program states no upper bound, max is opt, because an unbounded range cannot be run.

    Raises:
        SourceError: An input is not a tensor, or inputs are nested or passed by keyword.
    """
    arguments, keywords = program.call_spec.in_spec.children() if program.call_spec.in_spec else (None, None)
    if arguments is None or keywords is None or not _is_flat(arguments) or keywords.num_leaves:
        raise SourceError(
            "the program takes nested inputs or keyword inputs",
            hint="export it again with tensors as its only, positional inputs",
        )
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    return tuple(_input_spec(str(name), values.get(str(name)), program) for name in program.graph_signature.user_inputs)


def upper_bounds(program: torch.export.ExportedProgram) -> dict[str, int | None]:
    """Returns for every dynamic dimension the largest size the program allows, None where it states no bound."""
    return {str(symbol): _finite(limits.upper) for symbol, limits in program.range_constraints.items()}


def _is_flat(arguments: Any) -> bool:
    return all(child.is_leaf() for child in arguments.children())


def _input_spec(name: str, value: Any, program: torch.export.ExportedProgram) -> TensorSpec:
    if not isinstance(value, torch.Tensor):
        raise SourceError(
            f"the program's input {name!r} is not a tensor",
            hint="export it again with tensors as its only inputs",
        )
    dims = tuple(_dim(size, program) for size in value.shape)
    return TensorSpec(name, dims, str(value.dtype).removeprefix("torch."))


def _dim(size: int | torch.SymInt, program: torch.export.ExportedProgram) -> Dim:
    if isinstance(size, int):
        return Dim.fixed(size)
    expression: Any = size.node.expr
    limits = program.range_constraints.get(expression)
    if limits is None:  # a size derived from others, such as 2*s0
        limits = size.node.shape_env.bound_sympy(expression)
    low = max(1, _finite(limits.lower) or 1)
    high = _finite(limits.upper)
    example = size.node.hint if isinstance(size.node.hint, int) else low
    opt = max(low, example if high is None else min(example, high))
    multiple, _ = expression.as_coeff_Mul()
    return Dim(str(expression), low, opt, opt if high is None else high, max(1, int(multiple)))


def _finite(bound: Any) -> int | None:
    """Returns a bound as an int; None for the infinities torch writes, one of them as a huge number."""
    try:
        value = int(bound)
    except (TypeError, ValueError, OverflowError, AttributeError):
        return None
    return value if abs(value) < 2**62 else None


@contextmanager
def _weights_only(forced: bool) -> Iterator[None]:
    """A second lock: torch.load refuses full unpickling inside, should the vetting have missed a way to it."""
    before = os.environ.get(_FORCE)
    if forced:
        os.environ[_FORCE] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_FORCE, None)
        else:
            os.environ[_FORCE] = before
