"""What a model demands of its dynamic dimensions, as advice in the grammar of the command line.

torch.export refuses a declared range that the model narrows, and says so in terms of guards. To give advice, the model
is captured once more with every dimension free: then the guards tell for each size whether the program holds for it,
and trying the sizes of the declared range finds the largest part of it that can be written down.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from traceback import FrameSummary
from typing import TYPE_CHECKING, Any

from s2deploy.errors import ExportError
from s2deploy.exporter.causes import how_to_keep_size, pinning_frames
from s2deploy.exporter.excess import Excess, excesses, tried_sizes
from s2deploy.exporter.provenance import place
from s2deploy.exporter.symbols import dynamic_sizes, environment_of, unit_of
from s2deploy.specs import Dim, TensorSpec, named_dims

if TYPE_CHECKING:
    import torch


def constraint_error(
    error: Exception, specs: Sequence[TensorSpec], free: torch.export.ExportedProgram | None
) -> ExportError | None:
    """Explains why torch.export refused the declared ranges.

    Args:
        error: What torch.export raised.
        specs: The model's inputs.
        free: The model captured with dimensions from `free_dim`; None where that failed.

    Returns:
        None where the free program holds for every declared size: torch.export could not see it, but trying them shows.
    """
    if free is None:
        said = "; ".join(_complaints(error, specs))
        return ExportError(
            f"the model does not work for every declared size: {said}",
            hint="narrow the ranges in --input so that this holds, or give fixed sizes",
        )
    blamed = _blamed(error, specs)
    return _error_of(demands_of(free, specs) or [*_narrowed(excesses(free, specs, blamed))])


def overlooked_error(program: torch.export.ExportedProgram, specs: Sequence[TensorSpec]) -> ExportError | None:
    """Explains what a program that torch.export accepts demands of the declared ranges.

    Returns:
        None where it demands nothing that torch.export has not looked at.
    """
    return _error_of(demands_of(program, specs) or [*_narrowed(excesses(program, specs, overlooked=True))])


def _error_of(findings: Sequence[tuple[str, str]]) -> ExportError | None:
    if not findings:
        return None
    hints = dict.fromkeys(hint for _, hint in findings)
    return ExportError("; ".join(what for what, _ in findings), hint="; ".join(hints))


def demands_of(program: torch.export.ExportedProgram, specs: Sequence[TensorSpec]) -> list[tuple[str, str]]:
    """Returns which dimensions the model takes at one size or only together: what it demands, and what to do."""
    return [*_fixed(program, specs), *_tied(program, specs)]


def _fixed(program: torch.export.ExportedProgram, specs: Sequence[TensorSpec]) -> list[tuple[str, str]]:
    """Finds dimensions that the model takes at one size only."""
    environment = environment_of(program)
    values = {} if environment is None else environment.replacements
    found = {}
    for dim, size in dynamic_sizes(program, specs):
        if isinstance(size, int) and dim.name not in found:
            symbol = next((s for s, value in values.items() if value == size), None)
            frame, asks = _fixing_line(environment, symbol)
            found[dim.name] = (
                f"the model fixes {dim.name} to {size}{'' if frame is None else f' ({place(frame)})'}",
                f"write {size} instead of {dim}, or {how_to_keep_size(frame, asks=asks)}",
            )
    return list(found.values())


def _fixing_line(environment: Any, symbol: Any) -> tuple[FrameSummary | None, bool]:
    """Returns the line that sets a symbol equal to a number, and whether it looks at the size itself."""
    for asks in (True, False):
        for symbols, frame in () if environment is None else pinning_frames(environment, asks=asks):
            if symbol in symbols:
                return frame, asks
    return None, False


def fixing_files(program: torch.export.ExportedProgram) -> set[str]:
    """Returns the user's files with a line that sets a size, or a part of one, equal to a number."""
    environment = environment_of(program)
    return set() if environment is None else {str(frame.filename) for _, frame in pinning_frames(environment)}


def _tied(program: torch.export.ExportedProgram, specs: Sequence[TensorSpec]) -> list[tuple[str, str]]:
    """Finds dimensions that the model takes only together."""
    import sympy  # type: ignore[import-untyped]

    symbolic = [(dim, size) for dim, size in dynamic_sizes(program, specs) if not isinstance(size, int)]
    owners: dict[Any, Dim] = {}
    named: dict[Any, Any] = {}
    for dim, size in symbolic:
        unit = unit_of(dim, size)
        if unit is not None and unit[0] not in owners:
            owners[unit[0]] = dim
            named[unit[0]] = sympy.Symbol(str(dim.name)) / unit[1]
    found: dict[str, tuple[str, str]] = {}
    for dim, size in symbolic:
        relation = size.xreplace(named)
        owner = next((owner for owner in owners.values() if str(relation) == owner.name), None)
        if owner is None:
            found[str(dim.name)] = (f"{dim.name} must be {relation}", f"give both as fixed sizes, not {dim}")
        elif owner.name != dim.name:
            found[str(dim.name)] = (
                f"{owner.name} and {dim.name} must be equal",
                f"give both the same name, e.g. {owner} and {owner.name}",
            )
    return list(found.values())


def _blamed(error: Exception, specs: Sequence[TensorSpec]) -> set[str]:
    """Returns the dimensions that torch.export complains about; all of them where it does not say."""
    header = re.search(r"Constraints violated \(([^)]*)\)", str(error))
    names = {name.strip().lstrip("_") for name in header[1].split(",")} if header else set()
    known = set(named_dims(specs))
    return {name for name in known if name.lstrip("_") in names} or known


def _narrowed(found: Iterable[Excess]) -> Iterator[tuple[str, str]]:
    for excess in found:
        advice = _expressible(excess.dim, excess.allowed)
        lines = excess.asking or excess.running[:1]
        use = (
            f"use {advice}"
            if advice and advice.min < advice.max
            else f"write {advice.min} instead of {excess.dim}"
            if advice
            else None
        )
        yield (
            f"torch.export cannot capture the model for every size of {excess.dim}"
            f"{''.join(f' ({line})' for line in lines)}",
            use or f"give {excess.dim.name} as a fixed size",
        )


def _expressible(dim: Dim, allowed: Sequence[int]) -> Dim | None:
    """Returns the widest range among the allowed sizes that the grammar can express, best around opt."""
    if not allowed:
        return None
    tried = tried_sizes(dim)
    best: tuple[bool, int, Dim] | None = None
    for multiple in {dim.multiple, math.gcd(*allowed), *(_gaps(allowed))}:
        if multiple % dim.multiple:
            continue
        run: list[int] = []
        for size in [*(size for size in tried if size % multiple == 0), None]:
            if size is not None and size in set(allowed):
                run.append(size)
                continue
            if run:
                opt = min(run, key=lambda size: abs(size - dim.opt))
                option = replace(dim, min=run[0], opt=opt, max=run[-1], multiple=multiple)
                score = (opt == dim.opt, len(run))
                if best is None or score > best[:2]:
                    best = (*score, option)
            run = []
    return best[2] if best else None


def _gaps(sizes: Sequence[int]) -> set[int]:
    return {later - earlier for earlier, later in itertools.pairwise(sizes)}


def _complaints(error: Exception, specs: Sequence[TensorSpec]) -> Iterable[str]:
    """Returns torch's own sentences with the user's names in place of its expressions."""
    names = {axis: dim.name for spec in specs for axis, dim in enumerate(spec.dims) if dim.name}
    lines = re.findall(r"^\s*- (.+)$", str(error), flags=re.MULTILINE) or [str(error).strip().split("\n")[0]]
    for line in lines[:3]:
        yield re.sub(
            r"L\[[^\]]+\](?:\[\d+\])*\.size\(\)\[(\d+)\]",
            lambda match: names.get(int(match[1])) or match[0],
            line,
        )
