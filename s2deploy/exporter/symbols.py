"""What torch's symbols have to do with the declared dimensions of a program's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from s2deploy.exporter.naming import input_shapes
from s2deploy.specs import Dim, TensorSpec

if TYPE_CHECKING:
    import torch

Units = Mapping[Any, int]
"""The symbols that stand for a dimension, each with how often it goes into the size: 1, or the declared multiple."""


def environment_of(program: torch.export.ExportedProgram) -> Any:
    """Returns what torch knows of a program's sizes; None for a program without dynamic ones."""
    for node in program.graph.nodes:
        mode = getattr(node.meta.get("val"), "fake_mode", None)
        if mode is not None and mode.shape_env is not None:
            return mode.shape_env
    return None


def dynamic_sizes(program: torch.export.ExportedProgram, specs: Sequence[TensorSpec]) -> list[tuple[Dim, Any]]:
    """Returns every dynamic dimension with its size in the program: an integer, or an expression of symbols."""
    return [
        (dim, size if isinstance(size, int) else size.node.expr)
        for spec, shape in zip(specs, input_shapes(program), strict=True)
        for dim, size in zip(spec.dims, shape, strict=True)
        if len(dim.sizes()) > 1
    ]


def unit_of(dim: Dim, size: Any) -> tuple[Any, int] | None:
    """Returns the symbol that stands for a dimension, and how often it goes into the size.

    Args:
        dim: The dimension.
        size: Its size in a program.

    Returns:
        None where the size is a number or computed from another dimension's.
    """
    if isinstance(size, int) or len(size.free_symbols) != 1:
        return None
    (symbol,) = size.free_symbols
    return next(((symbol, multiple) for multiple in (1, dim.multiple) if size == multiple * symbol), None)


def units_of(program: torch.export.ExportedProgram, specs: Sequence[TensorSpec]) -> dict[str, Units]:
    """Returns the symbols that stand for each dimension; those of two dimensions count as the first one's."""
    units: dict[str, dict[Any, int]] = {}
    taken: set[Any] = set()
    for dim, size in dynamic_sizes(program, specs):
        unit = unit_of(dim, size)
        if unit is not None and unit[0] not in taken:
            taken.add(unit[0])
            units.setdefault(str(dim.name), {})[unit[0]] = unit[1]
    return dict(units)


def values_at(units: Units, size: int) -> dict[Any, int]:
    """Returns the values of a dimension's symbols at one of its sizes."""
    return {symbol: size // multiple for symbol, multiple in units.items()}


def resolved(expression: Any, environment: Any) -> Any:
    """Returns an expression without the symbols that torch has found to be made of others."""
    while replaced := expression.free_symbols & environment.replacements.keys():
        expression = expression.xreplace({symbol: environment.replacements[symbol] for symbol in replaced})
    return expression
