"""Which nodes stay in float32 because the user said so, by name or by operator type."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from s2deploy.errors import UsageError
from s2deploy.ops import op_named

if TYPE_CHECKING:
    import onnx_ir as ir


def kept_nodes(model: ir.Model, asked: Iterable[str]) -> frozenset[str]:
    """Returns the names of the nodes that what was asked for means, those of branches and loops included.

    An operator of the plugins counts under its own name, whatever number its function has.

    Args:
        model: A normalised model: its nodes have unique names.
        asked: Names of nodes, or operator types; a name wins over a type of the same spelling.

    Raises:
        UsageError: A text is neither.
    """
    by_name = {str(node.name): node for node in model.graph.all_nodes()}
    by_type: dict[str, set[str]] = {}
    for name, node in by_name.items():
        by_type.setdefault(node.op_type, set()).add(name)
        op = op_named(node.domain, node.op_type)
        if op is not None:
            by_type.setdefault(op.name, set()).add(name)
    kept: set[str] = set()
    for text in asked:
        if text in by_name:
            kept.add(text)
        elif text in by_type:
            kept |= by_type[text]
        else:
            raise UsageError(
                f"--keep-fp32 {text!r}: the model has neither a node nor an operator type of that name",
                hint=_suggestion(text, by_name, by_type),
            )
    return frozenset(kept)


def _suggestion(text: str, names: Iterable[str], types: Iterable[str]) -> str:
    known = {name.casefold(): name for name in (*names, *types)}
    near = [known[match] for match in get_close_matches(text.casefold(), list(known), n=3, cutoff=0.6)]
    inside = [name for name in names if text and text.casefold() in name.casefold()]
    near += [name for name in inside if name not in near][: 3 - len(near)] if len(near) < 3 else []
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"its operator types are {', '.join(sorted(types))}"
