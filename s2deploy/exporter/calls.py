"""Calls that are put into a decomposed program, which stays executable."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.fx import Node


def call(node: Node, target: Any, *args: Any, **kwargs: Any) -> Node:
    """Inserts a call in front of the node it is a part of, whose metadata it takes over.

    Args:
        node: Where the call goes; it has the same line of the user's code.
        target: An operator, of tensors or of sizes; it is run on what is known of its arguments.
        args: Positional arguments: nodes, numbers, and lists of them.
        kwargs: Keyword arguments, likewise.
    """
    import torch

    known, named = torch.fx.map_arg((args, kwargs), lambda argument: argument.meta["val"])
    with _mode_of(node.meta.get("val")):
        result = target(*known, **named)
    return call_for(node, result, target, *args, **kwargs)


def call_for(node: Node, result: Any, target: Any, *args: Any, **kwargs: Any) -> Node:
    """Inserts a call of which the result is known: some operators fix symbolic sizes when they are run on them."""
    with node.graph.inserting_before(node):
        created = node.graph.call_function(target, args, kwargs)
    created.meta = {**node.meta, "val": result}
    return created


def _mode_of(known: Any) -> AbstractContextManager[Any]:
    """Returns what makes tensors without memory, as those a program is known by."""
    import torch

    mode = next((each.fake_mode for each in torch.utils._pytree.tree_leaves(known) if hasattr(each, "fake_mode")), None)
    return mode or nullcontext()
