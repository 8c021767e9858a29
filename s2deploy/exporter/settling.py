"""What becomes of a model whose declared ranges torch.export refuses: a program nevertheless, or advice.

Three ways lead to a program. Trying all sizes shows that the guards hold for them. The model fixes a size by Python's
`int`, and keeps it symbolic with `integers` in its place. Or only sizes at an end of a range break guards, which no
line of the model asks for: torch.export traces with other sizes and assumes that a shifted part is never empty, of size
1 or all of a tensor, although Slice and Concat are right for that too; then the program comes with a doubt, which
running the result at these sizes settles.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s2deploy.errors import ExportError
from s2deploy.exporter.constraints import (
    Excess,
    constraint_error,
    demands_of,
    environment_of,
    excesses,
    fixing_files,
    holds,
)
from s2deploy.exporter.failures import is_constraint_violation
from s2deploy.exporter.integers import hold, sizes_stay_symbolic
from s2deploy.exporter.naming import input_shapes
from s2deploy.exporter.tracing import export, free_dim, named_dims_for
from s2deploy.specs import TensorSpec, named_dims

if TYPE_CHECKING:
    import torch

_MOST_TRIED = 8
"""So many refused sizes are tried, those alike for all guards as one; a shift by k is refused up to k + 1."""

_MOST_FILES = 4


@dataclass(frozen=True)
class Doubt:
    """Declared sizes that a program has not been traced for.

    Attributes:
        sizes: Sizes of all dynamic dimensions, to be tried one after the other.
        error: What to raise where the program is not right at one of them.
    """

    sizes: tuple[Mapping[str, int], ...]
    error: ExportError


def settle(
    error: Exception, module: torch.nn.Module, specs: Sequence[TensorSpec], sizes: Mapping[str, int]
) -> tuple[torch.export.ExportedProgram, Doubt | None]:
    """Captures a model whose declared ranges torch.export refused.

    Args:
        error: What it raised.
        module: The model.
        specs: Its inputs.
        sizes: The example sizes.

    Raises:
        ExportError: The model cannot be captured for these ranges; says what it demands of them.
    """
    try:
        free = export(module, specs, sizes, free_dim)
    except Exception:  # the error to explain is the first one
        free = None
    files = set() if free is None else fixing_files(free)
    if files:
        program, settled = _with_exact_integers(files, module, specs, sizes)
        if program is not None and settled is None:
            return program, None
        if program is not None and settled is not None:
            free, error = program, settled
    explained = constraint_error(error, specs, free)
    if free is None or explained is None:
        if free is None:
            raise explained or error from error
        return free, None
    doubtful = _doubtful_sizes(free, specs)
    if not doubtful:
        raise explained from error
    return free, Doubt(doubtful, explained)


def _with_exact_integers(
    files: set[str], module: torch.nn.Module, specs: Sequence[TensorSpec], sizes: Mapping[str, int]
) -> tuple[torch.export.ExportedProgram | None, Exception | None]:
    """Captures a model with `int` replaced; where the ranges are refused still, with free dimensions.

    Returns:
        The program, None where there is none or it takes for granted what is not so; and why the ranges are refused.
    """
    for _ in range(_MOST_FILES):
        refused: Exception | None = None
        with sizes_stay_symbolic(files) as assumptions:
            try:
                program = export(module, specs, sizes, named_dims_for())
            except Exception as error:  # whatever the model raises with symbolic sizes, it has been captured without
                if not is_constraint_violation(error):
                    return None, None
                refused = error
        if refused is not None:
            with sizes_stay_symbolic(files) as assumptions:
                try:
                    program = export(module, specs, sizes, free_dim)
                except Exception:
                    return None, None
        more = fixing_files(program) - files
        if not more:
            break
        files = files | more
    return (program, refused) if hold(assumptions, list(_samples(program, specs))) else (None, None)


def _samples(program: torch.export.ExportedProgram, specs: Sequence[TensorSpec]) -> Iterator[dict[Any, Any]]:
    """Yields declared sizes for the symbols of a program: all combinations of a few of each dimension."""
    import sympy  # type: ignore[import-untyped]

    symbols: dict[str, Any] = {}
    for spec, shape in zip(specs, input_shapes(program), strict=True):
        for dim, size in zip(spec.dims, shape, strict=True):
            if dim.name is not None and not isinstance(size, int):
                symbols[dim.name] = size.node.expr
    replacements = environment_of(program).replacements
    few = {name: _few(dim.sizes()) for name, dim in named_dims(specs).items() if name in symbols}
    for sizes in itertools.product(*few.values()):
        values = {}
        for name, size in zip(few, sizes, strict=True):
            (symbol,) = symbols[name].free_symbols
            values[symbol] = sympy.Integer(size) / (symbols[name] / symbol)
        yield values | {
            symbol: expression.xreplace(values)
            for symbol, expression in replacements.items()
            if expression.free_symbols <= values.keys()
        }


def _few(sizes: range) -> list[int]:
    return sorted({*sizes[:3], *sizes[-2:], sizes[len(sizes) // 2]})


def _doubtful_sizes(free: torch.export.ExportedProgram, specs: Sequence[TensorSpec]) -> tuple[Mapping[str, int], ...]:
    """Returns the sizes that decide whether a program is right, and makes the program forget what it assumes of them.

    Nothing, where many sizes break guards, or some in the middle of a range, or a guard is the model's own, or sizes
    are fixed or tied.
    """
    from torch.utils._sympy.value_ranges import ValueRanges

    found = excesses(free, specs)
    if demands_of(free, specs) or not all(map(_can_be_tried, found)):
        return ()
    environment = environment_of(free)
    for excess in found:
        limits = ValueRanges(excess.dim.min, excess.dim.max)
        environment.var_to_range[excess.symbol] = free.range_constraints[excess.symbol] = limits
        hints = environment.backed_var_to_val
        environment.guards[:] = [
            guard
            for guard in environment.guards
            if all(holds(guard.expr, {**hints, excess.symbol: size}) for alike in excess.refused for size in alike)
        ]
    environment._update_version_counter()
    typical = {name: dim.opt for name, dim in named_dims(specs).items()}
    trials = {excess.dim.name: _trials(excess) for excess in found}
    single = [{**typical, name: size} for name, sizes in trials.items() for size in sizes]
    together = [
        {**typical, **{name: sizes[min(index, len(sizes) - 1)] for name, sizes in trials.items()}}
        for index in range(max(map(len, trials.values()), default=0))
    ]
    tried: list[Mapping[str, int]] = []
    for sizes in (*single, *together):
        if sizes not in tried:
            tried.append(sizes)
    return tuple(tried)


def _can_be_tried(excess: Excess) -> bool:
    """Whether only a few sizes at the ends are refused, and by no line of the model that asks for others."""
    return not excess.asking and excess.at_the_ends and len(excess.refused) <= _MOST_TRIED


def _trials(excess: Excess) -> list[int]:
    """Returns the sizes that stand for all that are refused."""
    return sorted({size for alike in excess.refused for size in (alike[0], alike[-1])})
