"""The guards of a rewritten graph, shortened to what a reader needs: no truism, nothing that another one implies."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Mapping

_CORNERS = (1, 2, 10**6)
"""Sizes that tell a comparison of sums and products of sizes that always holds from one that does not."""

_TRIED = 256
_MOST_NAMES = 4

_ARITHMETIC = (
    ast.Expression, ast.Compare, ast.BinOp, ast.UnaryOp, ast.Name, ast.Load, ast.Constant, ast.Add, ast.Sub, ast.Mult,
    ast.FloorDiv, ast.USub, ast.LtE, ast.GtE, ast.Lt, ast.Gt, ast.Eq, ast.NotEq,
)  # fmt: skip


def assumptions(guards: Iterable[str]) -> list[str]:
    """Returns what guards ask of the sizes, all of which are at least 1.

    Args:
        guards: Comparisons such as ``1 <= height - 2``; one that cannot be read is returned as it is.
    """
    least: dict[str, int] = {}
    others: list[str] = []
    for guard in guards:
        names = _names(guard)
        if names is None or len(names) > _MOST_NAMES:
            others.append(guard)
        elif len(names) == 1 and (bound := _lower_bound(guard, names[0])) is not None:
            least[names[0]] = max(bound, least.get(names[0], 1))
        elif not _is_truism(guard, names):
            others.append(guard)
    return [*(f"{name} >= {bound}" for name, bound in least.items() if bound > 1), *dict.fromkeys(others)]


def _is_truism(guard: str, names: list[str]) -> bool:
    """Whether an order always holds; one of several names that holds at the corners holds between them."""
    if len(names) == 1 or "==" in guard or "!=" in guard:
        return False
    corners = itertools.product(_CORNERS, repeat=len(names))
    return all(_holds(guard, dict(zip(names, sizes, strict=True))) for sizes in corners)


def _names(guard: str) -> list[str] | None:
    """Returns the names in a comparison of sizes, None where the text is something else."""
    try:
        tree = ast.parse(guard, mode="eval")
    except (SyntaxError, ValueError):
        return None
    nodes = list(ast.walk(tree))
    if not isinstance(tree.body, ast.Compare) or not all(isinstance(node, _ARITHMETIC) for node in nodes):
        return None
    if not all(type(node.value) is int for node in nodes if isinstance(node, ast.Constant)):
        return None
    return list(dict.fromkeys(node.id for node in nodes if isinstance(node, ast.Name)))


def _holds(guard: str, sizes: Mapping[str, int]) -> bool:
    try:
        return bool(eval(guard, {"__builtins__": {}}, dict(sizes)))  # arithmetic on integers only, see _names
    except ZeroDivisionError:
        return False


def _lower_bound(guard: str, name: str) -> int | None:
    """Returns the size from which on a guard holds, None where it does not hold for all sizes from one on."""
    held = [_holds(guard, {name: size}) for size in (*range(1, _TRIED + 1), _CORNERS[-1])]
    if not held[-1] or True not in held:
        return None
    first = held.index(True)
    return first + 1 if all(held[first:]) and first < _TRIED else None
