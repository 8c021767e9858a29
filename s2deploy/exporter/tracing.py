"""Runs torch.export, with nothing of it on the terminal and nothing left behind in the module."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from s2deploy.exporter.adaptive_pools import adaptive_pools_stay_symbolic
from s2deploy.exporter.arguments import bind
from s2deploy.exporter.attributes import assigned_buffers_copied, attributes_kept
from s2deploy.exporter.diagonals import diagonals_are_masks
from s2deploy.exporter.linspaces import linspaces_stay_symbolic
from s2deploy.exporter.provenance import every_guard_line, every_user_line
from s2deploy.exporter.size_tensors import tensors_of_sizes_stay_symbolic
from s2deploy.exporter.whole_pools import whole_pools_stay_symbolic
from s2deploy.specs import Dim, TensorSpec

if TYPE_CHECKING:
    import torch

DimFor = Callable[[Dim], object]
"""Gives the object that stands for a dynamic dimension in `torch.export`."""


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
        every_guard_line(),
        _data_traced(),
        linspaces_stay_symbolic(),
        tensors_of_sizes_stay_symbolic(),
        whole_pools_stay_symbolic(),
        adaptive_pools_stay_symbolic(),
        diagonals_are_masks(),
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


def named_dims_for() -> DimFor:
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


def free_dim(dim: Dim) -> object:
    """Returns a stand-in for a dimension that torch.export may restrict without refusing."""
    import torch

    return torch.export.Dim.AUTO(min=dim.min, max=dim.max)


@contextlib.contextmanager
def _data_traced() -> Iterator[None]:
    """Makes ``x.data`` a traced alias of ``x``.

    Reading the attribute calls no operator, so that the tracer takes what it gives for a constant, and torch.export
    gives up on a "fake tensor in the exported program constant's list". detach() gives the same memory and is traced.
    """
    import torch
    from torch.fx.experimental.proxy_tensor import get_proxy_mode

    kept: Any = torch.Tensor.data

    def read(tensor: torch.Tensor) -> torch.Tensor:
        data: torch.Tensor = kept.__get__(tensor) if get_proxy_mode() is None else tensor.detach()
        return data

    torch.Tensor.data = property(read, kept.__set__)  # type: ignore[assignment]
    try:
        yield
    finally:
        del torch.Tensor.data  # the attribute itself is TensorBase's


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
