"""Whether what a program takes for granted is true for the declared sizes, by trying some of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from s2deploy.exporter.integers import Assumption
from s2deploy.exporter.symbols import Units, environment_of, resolved, units_of, values_at
from s2deploy.specs import Dim, TensorSpec, named_dims

if TYPE_CHECKING:
    import torch

_MOST_TRIED = 1024
"""Combinations of sizes tried for one assumption; it speaks of two or three dimensions, seldom of more."""


def hold(assumptions: Iterable[Assumption], program: torch.export.ExportedProgram, specs: Sequence[TensorSpec]) -> bool:
    """Whether what was taken for granted is true at all combinations of a few sizes of the dimensions it speaks of.

    Args:
        assumptions: What `integers.sizes_stay_symbolic` noted.
        program: The program.
        specs: Its inputs.
    """
    noted = set(assumptions)
    environment = environment_of(program)
    if not noted or environment is None:
        return not noted
    units, dims = units_of(program, specs), named_dims(specs)
    for meant, exact in {(resolved(meant, environment), resolved(exact, environment)) for meant, exact in noted}:
        symbols = meant.free_symbols | exact.free_symbols
        concerned = {name: own for name, own in units.items() if not symbols.isdisjoint(own)}
        if not symbols <= {symbol for own in concerned.values() for symbol in own}:
            return False
        for values in _samples({name: dims[name] for name in concerned}, concerned):
            if int(meant.xreplace(values)) != int(exact.xreplace(values)):
                return False
    return True


def _samples(dims: Mapping[str, Dim], units: Mapping[str, Units]) -> Iterator[dict[Any, Any]]:
    """Yields values for the symbols of some dimensions: all combinations of a few sizes of each."""
    import sympy  # type: ignore[import-untyped]

    each = next((count for count in (6, 5, 4, 3) if count ** len(dims) <= _MOST_TRIED), 2)
    few = [some_sizes(dim.sizes(), each) for dim in dims.values()]
    for sizes in itertools.islice(itertools.product(*few), _MOST_TRIED):
        yield {
            symbol: sympy.Integer(value)
            for name, size in zip(dims, sizes, strict=True)
            for symbol, value in values_at(units[name], size).items()
        }


def some_sizes(sizes: range, count: int) -> list[int]:
    """Returns at most so many sizes of a range, both ends among them."""
    wanted = (sizes[0], sizes[-1], sizes[len(sizes) // 2], *sizes[1:3], *sizes[-2:-1])
    return sorted(list(dict.fromkeys(wanted))[:count])
