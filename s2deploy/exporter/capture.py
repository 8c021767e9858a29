"""Captures a module as an exported program at sizes that specialise nothing.

torch.export decides what is fixed; this module chooses what it is shown, and turns what it reports into advice in the
grammar of the command line. Nothing the model prints or torch logs while it is traced reaches the terminal.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from s2deploy.errors import S2DeployError
from s2deploy.exporter.arguments import bind
from s2deploy.exporter.attributes import assigned_buffers_copied, attributes_kept
from s2deploy.exporter.baked import check_program, remarks_on
from s2deploy.exporter.constraints import constraint_error, free_dim
from s2deploy.exporter.failures import depends_on_data, is_constraint_violation, tracing_error
from s2deploy.exporter.provenance import every_user_line
from s2deploy.exporter.sizes import attempts
from s2deploy.exporter.state import check_state
from s2deploy.specs import Dim, TensorSpec

if TYPE_CHECKING:
    import torch

    DimFor = Callable[[Dim], object]


@dataclass(frozen=True)
class Captured:
    """A captured module.

    Attributes:
        program: The program, not decomposed; its tensor inputs are the specifications in order.
        sizes: The example size of every dynamic dimension.
        remarks: What the user should know about the program, one sentence each.
    """

    program: torch.export.ExportedProgram
    sizes: Mapping[str, int]
    remarks: tuple[str, ...]


def capture(module: torch.nn.Module, specs: Sequence[TensorSpec]) -> Captured:
    """Captures a module with torch.export.

    Args:
        module: A module in eval mode; it is not changed.
        specs: Its inputs, in the order of forward's arguments.

    Raises:
        UsageError: forward takes another number of inputs, or does not accept their ranks or dtypes.
        ExportError: forward fixes or restricts a size that was declared dynamic, depends on the values of a tensor,
            or raises.
    """
    failure: S2DeployError | None = None
    for sizes in attempts(specs, _parameter_sizes(module)):
        try:
            program = export(module, specs, sizes, _named_dims())
        except S2DeployError:
            raise
        except Exception as error:  # torch.export lets everything through that the model raises
            if is_constraint_violation(error):
                program = _settle(error, module, specs, sizes)
            else:
                failure = tracing_error(error, specs, sizes)
                failure.__cause__ = error
                if depends_on_data(error):
                    break
                continue
        check_program(program, specs)
        check_state(program)
        return Captured(program, sizes, remarks_on(program))
    assert failure is not None
    raise failure from failure.__cause__


def export(
    module: torch.nn.Module, specs: Sequence[TensorSpec], sizes: Mapping[str, int], dim_for: DimFor
) -> torch.export.ExportedProgram:
    """Runs torch.export at the given example sizes.

    Raises:
        UsageError: forward takes another number of inputs.
        Exception: Whatever torch.export or the model raises.
    """
    import torch

    arguments = bind(module, specs, sizes, dim_for)
    with (
        _silence(),
        every_user_line(),
        attributes_kept(module),
        assigned_buffers_copied(module),
        torch.no_grad(),
    ):
        return torch.export.export(
            module,
            arguments.args,
            arguments.kwargs,
            dynamic_shapes=arguments.dynamic_shapes,
            strict=False,
        )


def _named_dims() -> DimFor:
    """Returns a function that gives one torch.export dimension per name; multiples are multiples of a hidden one."""
    import torch

    known: dict[str, object] = {}

    def dim_for(dim: Dim) -> object:
        assert dim.name is not None
        if dim.name not in known:
            if dim.multiple == 1:
                known[dim.name] = torch.export.Dim(dim.name, min=dim.min, max=dim.max)
            else:
                root = torch.export.Dim(f"_{dim.name}", min=dim.min // dim.multiple, max=dim.max // dim.multiple)
                known[dim.name] = dim.multiple * root
        return known[dim.name]

    return dim_for


def _settle(
    error: Exception, module: torch.nn.Module, specs: Sequence[TensorSpec], sizes: Mapping[str, int]
) -> torch.export.ExportedProgram:
    """Captures a model whose declared ranges torch.export refused, if it holds for them nevertheless."""
    try:
        free = export(module, specs, sizes, free_dim)
    except Exception:  # the error to explain is the first one
        free = None
    explained = constraint_error(error, specs, free)
    if explained is not None or free is None:
        raise explained or error from error
    return free


def _parameter_sizes(module: torch.nn.Module) -> set[int]:
    tensors = [*module.parameters(), *module.buffers()]
    return {size for tensor in tensors for size in tensor.shape}


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
