"""Which nodes stay in float32 because the user said so, by name or by operator type.

An operator of the plugins counts under its own name, whatever number its function has, and also where its function is
written out: what the function computes is then meant. Where it is a node, it is kept for what is named inside it, so
that the same words fit a model with kernels and with functions.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from s2deploy.errors import UsageError
from s2deploy.ops import op_named
from s2deploy.precision.functions import inline, written_out_of

if TYPE_CHECKING:
    import onnx_ir as ir


def kept_nodes(model: ir.Model, asked: Iterable[str]) -> frozenset[str]:
    """Returns the names of the nodes that what was asked for means, those of branches and loops included.

    Args:
        model: A normalised model: its nodes have unique names.
        asked: Names of nodes, or operator types; a name wins over a type of the same spelling.

    Raises:
        UsageError: A text is neither.
    """
    texts = list(asked)
    known = meanings(model)
    if not known.keys() >= set(texts):
        known = _inside(model) | known
    for text in texts:
        if text not in known:
            raise UsageError(
                f"--keep-fp32 {text!r}: the model has neither a node nor an operator type of that name",
                hint=_suggestion(text, known, {node.op_type for node in model.graph.all_nodes()}),
            )
    return frozenset[str]().union(*(known[text] for text in texts))


def meanings(model: ir.Model) -> dict[str, set[str]]:
    """Returns the names of the nodes that every text means: the name of a node, or a type of operators."""
    types: dict[str, set[str]] = {}
    operators: dict[str, set[str]] = {}
    names: dict[str, set[str]] = {}
    for node in model.graph.all_nodes():
        name = str(node.name)
        names[name] = {name}
        types.setdefault(node.op_type, set()).add(name)
        op, origin = op_named(node.domain, node.op_type), written_out_of(node)
        if op is not None:
            types.setdefault(op.name, set()).add(name)
        if origin is not None:
            types.setdefault(origin.operator, set()).add(name)
            operators.setdefault(origin.node, set()).add(name)
    return types | operators | names


def _inside(model: ir.Model) -> dict[str, set[str]]:
    """Returns the names of the operators' nodes by the names and types of what their functions compute."""
    copy = model.clone()
    inline(copy)
    found: dict[str, set[str]] = {}
    for node in copy.graph.all_nodes():
        origin = written_out_of(node)
        if origin is not None:
            for text in (str(node.name), node.op_type):
                found.setdefault(text, set()).add(origin.node)
    return found


def _suggestion(text: str, words: Iterable[str], types: Iterable[str]) -> str:
    known = {word.casefold(): word for word in words}
    near = [known[match] for match in get_close_matches(text.casefold(), list(known), n=3, cutoff=0.6)]
    inside = [word for key, word in known.items() if text and text.casefold() in key]
    near += [word for word in inside if word not in near][: 3 - len(near)] if len(near) < 3 else []
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"its operator types are {', '.join(sorted(types))}"
