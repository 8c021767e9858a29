"""What becomes of a model whose declared ranges torch.export refuses: a program nevertheless, or advice.

The same becomes of one that torch.export accepts although guards that it does not look at break; see `excess`.

Three ways lead to a program. Trying all sizes shows that the guards hold for them. The model fixes a size by Python's
`int`, and keeps it symbolic with `integers` in its place. Or only sizes at an end of a range break guards, which no
line of the model asks for: torch.export traces with other sizes and assumes that a shifted part is never empty, of size
1 or all of a tensor, although Slice and Concat are right for that too; then the program comes with a doubt, which
running the result at these sizes settles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from s2deploy.errors import ExportError
from s2deploy.exporter.constraints import constraint_error, demands_of, fixing_files, overlooked_error
from s2deploy.exporter.excess import Excess, excesses, holds
from s2deploy.exporter.failures import is_constraint_violation
from s2deploy.exporter.integers import sizes_stay_symbolic
from s2deploy.exporter.sampling import hold
from s2deploy.exporter.strides import read_sizes_instead
from s2deploy.exporter.symbols import environment_of, resolved, values_at
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
        program, refused = _with_exact_integers(files, module, specs, sizes)
        if program is not None and refused is None:
            return _vouched(program, specs)
        if program is not None and refused is not None:
            free, error = program, refused
    explained = constraint_error(error, specs, free)
    if free is None or explained is None:
        if free is None:
            raise explained or error from error
        return free, None
    doubtful = _doubtful_sizes(free, specs, excesses(free, specs))
    if not doubtful:
        raise explained from error
    return free, Doubt(doubtful, explained)


def vouch(
    program: torch.export.ExportedProgram,
    module: torch.nn.Module,
    specs: Sequence[TensorSpec],
    sizes: Mapping[str, int],
) -> tuple[torch.export.ExportedProgram, Doubt | None]:
    """Looks at what torch.export does not when it accepts the declared ranges; see `excesses`.

    Args:
        program: What it gave.
        module: The model.
        specs: Its inputs.
        sizes: The example sizes.

    Returns:
        The program, or another one of the same model that demands less of the sizes.

    Raises:
        ExportError: The program is not right for the declared sizes; says what the model demands of them.
    """
    asks = any(excess.asking for excess in excesses(program, specs, overlooked=True))
    files = fixing_files(program) if asks or demands_of(program, specs) else set()
    if files:
        exact, refused = _with_exact_integers(files, module, specs, sizes)
        if exact is not None and refused is None:
            program = exact
    return _vouched(program, specs)


def _vouched(
    program: torch.export.ExportedProgram, specs: Sequence[TensorSpec]
) -> tuple[torch.export.ExportedProgram, Doubt | None]:
    explained = overlooked_error(program, specs)
    if explained is None:
        return program, None
    doubtful = _doubtful_sizes(program, specs, excesses(program, specs, overlooked=True))
    if not doubtful:
        raise explained
    return program, Doubt(doubtful, explained)


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
    if not hold(assumptions, program, specs):
        return None, None
    read_sizes_instead(program.graph_module)
    return program, refused


def _doubtful_sizes(
    program: torch.export.ExportedProgram, specs: Sequence[TensorSpec], found: Sequence[Excess]
) -> tuple[Mapping[str, int], ...]:
    """Returns the sizes that decide whether a program is right, and makes the program forget what it assumes of them.

    Nothing, where many sizes break guards, or some in the middle of a range, or a guard is the model's own, or sizes
    are fixed or tied.
    """
    from torch.utils._sympy.value_ranges import ValueRanges

    if demands_of(program, specs) or not all(map(_can_be_tried, found)):
        return ()
    environment = environment_of(program)
    for excess in found:
        for symbol, multiple in excess.units.items():
            limits = ValueRanges(excess.dim.min // multiple, excess.dim.max // multiple)
            environment.var_to_range[symbol] = program.range_constraints[symbol] = limits
        hints = environment.backed_var_to_val
        refused = [{**hints, **values_at(excess.units, size)} for alike in excess.refused for size in alike]
        environment.guards[:] = [
            guard
            for guard in environment.guards
            if all(holds(resolved(guard.expr, environment), values) for values in refused)
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
