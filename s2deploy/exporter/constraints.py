"""What a model demands of its dynamic dimensions, as advice in the grammar of the command line.

torch.export refuses a declared range that the model narrows, and says so in terms of guards. To give advice, the model
is captured once more with every dimension free: then the guards tell for each size whether the program holds for it,
and trying the sizes of the declared range finds the largest part of it that can be written down.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from traceback import FrameSummary
from typing import TYPE_CHECKING, Any

from s2deploy.errors import ExportError
from s2deploy.exporter.causes import how_to_keep_size, pinning_frames
from s2deploy.exporter.naming import input_shapes
from s2deploy.exporter.provenance import asking_frame, running_frame
from s2deploy.specs import Dim, TensorSpec, named_dims

if TYPE_CHECKING:
    import torch

_SWEPT = 128
"""Sizes tried at each end of a long range."""


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
    findings = demands_of(free, specs) or [*_narrowed(excesses(free, specs, blamed))]
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
    for dim, size in _dims(program, specs):
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
    symbolic = [(dim, size.node.expr) for dim, size in _dims(program, specs) if not isinstance(size, int)]
    owners: dict[Any, Dim] = {}
    for dim, expression in symbolic:
        if expression.is_Symbol:
            owners.setdefault(expression, dim)
    found: dict[str, tuple[str, str]] = {}
    for dim, expression in symbolic:
        owner = owners.get(expression)
        if owner is None:
            relation = str(expression)
            for symbol, other in owners.items():
                relation = re.sub(rf"\b{symbol}\b", str(other.name), relation)
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


@dataclass(frozen=True)
class Excess:
    """A dimension whose declared range is wider than what the guards allow.

    Attributes:
        dim: The dimension.
        symbol: What stands for it in the program.
        allowed: The sizes tried that break no guard.
        refused: Those that break one; sizes for which the guards compare the same numbers are one tuple.
        asking: Lines of the model that compare the size themselves and so break.
        running: Lines of the model that run an operator which compares it.
    """

    dim: Dim
    symbol: Any
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
    program: torch.export.ExportedProgram, specs: Sequence[TensorSpec], blamed: set[str] | None = None
) -> list[Excess]:
    """Finds dimensions whose declared range is wider than what the guards allow.

    Args:
        program: The model captured with dimensions from `free_dim`.
        specs: Its inputs.
        blamed: The dimensions to look at; all unless given.
    """
    environment = environment_of(program)
    if environment is None:
        return []
    expressions = {dim.name: size.node.expr for dim, size in _dims(program, specs) if not isinstance(size, int)}
    hints = {size.node.expr: size.node.hint for _, size in _dims(program, specs) if not isinstance(size, int)}
    found = []
    for name, dim in named_dims(specs).items():
        symbol = expressions.get(name)
        if (blamed is not None and name not in blamed) or symbol is None or not symbol.is_Symbol:
            continue
        guards = [guard for guard in environment.guards if symbol in guard.expr.free_symbols]
        others = {other: hint for other, hint in hints.items() if other != symbol}
        broken = {
            size: [guard for guard in guards if not holds(guard.expr, {**others, symbol: size})]
            for size in _candidates(dim)
        }
        culprits = [guard for guard in guards if any(guard in some for some in broken.values())]
        refused: dict[Any, list[int]] = {}
        for size, some in broken.items():
            if some:
                compared = tuple(_compared(guard.expr, {**others, symbol: size}) for guard in culprits)
                refused.setdefault(compared, []).append(size)
        if refused:
            asking, running = (
                tuple(dict.fromkeys(place(frame) for frame in frames if frame is not None))
                for frames in zip(*((asking_frame(g.sloc), running_frame(g.sloc)) for g in culprits), strict=True)
            )
            allowed = tuple(size for size, some in broken.items() if not some)
            found.append(Excess(dim, symbol, allowed, tuple(map(tuple, refused.values())), asking, running))
    return found


def _narrowed(found: Iterable[Excess]) -> Iterator[tuple[str, str]]:
    for excess in found:
        advice = _expressible(excess.dim, excess.allowed)
        lines = excess.asking or excess.running[:1]
        yield (
            f"torch.export cannot capture the model for every size of {excess.dim}"
            f"{''.join(f' ({line})' for line in lines)}",
            f"use {advice}" if advice else f"give {excess.dim.name} as a fixed size",
        )


def _candidates(dim: Dim) -> list[int]:
    """Returns the sizes of a range, of a long one those at its ends."""
    sizes = dim.sizes()
    return list(sizes) if len(sizes) <= 2 * _SWEPT else [*sizes[:_SWEPT], *sizes[-_SWEPT:]]


def holds(guard: Any, sizes: Mapping[Any, int]) -> bool:
    """Whether a guard is true, or not decided, at some sizes."""
    import sympy  # type: ignore[import-untyped]

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


def _expressible(dim: Dim, allowed: Sequence[int]) -> Dim | None:
    """Returns the widest range among the allowed sizes that the grammar can express, best around opt."""
    if not allowed:
        return None
    candidates = _candidates(dim)
    best: tuple[bool, int, Dim] | None = None
    for multiple in {dim.multiple, math.gcd(*allowed), *(_gaps(allowed))}:
        if multiple % dim.multiple:
            continue
        run: list[int] = []
        for size in [*(size for size in candidates if size % multiple == 0), None]:
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


def _dims(program: torch.export.ExportedProgram, specs: Sequence[TensorSpec]) -> list[tuple[Dim, Any]]:
    """Returns every dynamic dimension with the size it has in the program: an integer or a symbol."""
    return [
        (dim, size)
        for spec, shape in zip(specs, input_shapes(program), strict=True)
        for dim, size in zip(spec.dims, shape, strict=True)
        if len(dim.sizes()) > 1
    ]


def environment_of(program: torch.export.ExportedProgram) -> Any:
    """Returns what torch knows of a program's sizes; None for a program without dynamic ones."""
    for node in program.graph.nodes:
        mode = getattr(node.meta.get("val"), "fake_mode", None)
        if mode is not None and mode.shape_env is not None:
            return mode.shape_env
    return None


def place(frame: FrameSummary) -> str:
    """Returns a frame as ``file.py:LINE``."""
    return f"{Path(frame.filename).name}:{frame.lineno}"


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
