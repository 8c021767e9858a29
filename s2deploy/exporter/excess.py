"""Which declared sizes break what a captured program takes for granted: its guards, tried at each size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s2deploy.exporter.provenance import asking_frame, place, running_frame
from s2deploy.exporter.symbols import Units, environment_of, resolved, units_of, values_at
from s2deploy.specs import Dim, TensorSpec, named_dims

if TYPE_CHECKING:
    import torch

_SWEPT = 128
"""Sizes tried at each end of a long range."""


@dataclass(frozen=True)
class Excess:
    """A dimension whose declared range is wider than what the guards allow.

    Attributes:
        dim: The dimension.
        units: What stands for it in the program.
        allowed: The sizes tried that break no guard.
        refused: Those that break one; sizes for which the guards compare the same numbers are one tuple.
        asking: Lines of the model that compare the size themselves and so break.
        running: Lines of the model that run an operator which compares it.
    """

    dim: Dim
    units: Units
    allowed: tuple[int, ...]
    refused: tuple[tuple[int, ...], ...]
    asking: tuple[str, ...]
    running: tuple[str, ...]

    @property
    def at_the_ends(self) -> bool:
        """Whether the sizes between the smallest and the largest allowed one are allowed, as far as they were tried."""
        if not self.allowed:
            return False
        low, high = self.allowed[0], self.allowed[-1]
        sizes = self.dim.sizes()
        return (
            low in sizes[:_SWEPT]
            and high in sizes[-_SWEPT:]
            and not any(low < size < high for alike in self.refused for size in alike)
        )


def excesses(
    program: torch.export.ExportedProgram,
    specs: Sequence[TensorSpec],
    blamed: set[str] | None = None,
    *,
    overlooked: bool = False,
) -> list[Excess]:
    """Finds dimensions whose declared range is wider than what the guards allow.

    Args:
        program: The model captured, with dimensions from `free_dim` or from `named_dims_for`.
        specs: Its inputs.
        blamed: The dimensions to look at; all unless given.
        overlooked: Whether only the guards count that torch.export does not compare with the declared ranges.
    """
    environment = environment_of(program)
    if environment is None:
        return []
    hints = environment.backed_var_to_val
    units = units_of(program, specs)
    vouched = {symbol for own in units.values() for symbol, multiple in own.items() if multiple == 1}
    guards: dict[Any, Any] = {}
    for guard in environment.guards:
        expression = resolved(guard.expr, environment)
        if not overlooked or _is_overlooked(guard, expression, vouched):
            guards.setdefault(expression, guard)
    found = []
    for name, dim in named_dims(specs).items():
        own = units.get(name)
        if own is None or (blamed is not None and name not in blamed):
            continue
        concerned = [expression for expression in guards if not own.keys().isdisjoint(expression.free_symbols)]
        values = {size: {**hints, **values_at(own, size)} for size in tried_sizes(dim)}
        broken = {size: [guard for guard in concerned if not holds(guard, at)] for size, at in values.items()}
        culprits = [guard for guard in concerned if any(guard in some for some in broken.values())]
        refused: dict[Any, list[int]] = {}
        for size, some in broken.items():
            if some:
                refused.setdefault(tuple(_compared(guard, values[size]) for guard in culprits), []).append(size)
        if refused:
            origins = [guards[guard].sloc for guard in culprits]
            asking, running = (
                tuple(dict.fromkeys(place(frame) for frame in map(frame_of, origins) if frame is not None))
                for frame_of in (asking_frame, running_frame)
            )
            allowed = tuple(size for size, some in broken.items() if not some)
            found.append(Excess(dim, own, allowed, tuple(map(tuple, refused.values())), asking, running))
    return found


def _is_overlooked(guard: Any, expression: Any, vouched: set[Any]) -> bool:
    """Whether torch.export does not compare a guard with the declared ranges.

    It does for a guard on one dimension, unless a multiple was declared: then the guard is on the hidden symbol that
    counts the multiples. Of guards on several dimensions it takes equalities that it cannot solve for granted, and what
    a line of the model compares; what else operators ask is mostly whether two sizes differ, as the example's do.

    Args:
        guard: The guard.
        expression: What it compares, `resolved`.
        vouched: The symbols whose guards torch.export looks at.
    """
    import sympy  # type: ignore[import-untyped]

    symbols: set[Any] = expression.free_symbols
    if len(symbols) == 1:
        return symbols.isdisjoint(vouched)
    is_equality: bool = isinstance(expression, sympy.Eq)
    return is_equality or asking_frame(guard.sloc) is not None


def tried_sizes(dim: Dim) -> list[int]:
    """Returns the sizes of a range, of a long one those at its ends."""
    sizes = dim.sizes()
    return list(sizes) if len(sizes) <= 2 * _SWEPT else [*sizes[:_SWEPT], *sizes[-_SWEPT:]]


def holds(guard: Any, sizes: Mapping[Any, int]) -> bool:
    """Whether a guard is true, or not decided, at some sizes."""
    import sympy

    try:
        return bool(_at(guard, sizes) != sympy.false)
    except ZeroDivisionError:
        return False


def _compared(guard: Any, sizes: Mapping[Any, int]) -> tuple[Any, ...]:
    """Returns what a guard compares at some sizes."""
    try:
        return tuple(_at(side, sizes) for side in guard.args)
    except ZeroDivisionError:
        return ()


def _at(expression: Any, sizes: Mapping[Any, int]) -> Any:
    import sympy

    return expression.xreplace({symbol: sympy.Integer(size) for symbol, size in sizes.items()})
