"""Calls that are put into a decomposed program, which stays executable."""

from __future__ import annotations

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

    with node.graph.inserting_before(node):
        created = node.graph.call_function(target, args, kwargs)
    known, named = torch.fx.map_arg((args, kwargs), lambda argument: argument.meta["val"])
    created.meta = {**node.meta, "val": target(*known, **named)}
    return created
