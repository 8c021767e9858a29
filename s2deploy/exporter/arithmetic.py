"""Floor divisions of sizes that ONNX's truncating division gets right.

Before: a // b, where a may be negative (torch translates it to Div, which truncates)
After:  (a - a % b) // b, whose division has no remainder

Requires: nothing; divisions of what is never negative stay as they are
Preserves: values; the program stays executable
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from s2deploy.exporter.calls import call

if TYPE_CHECKING:
    import torch


def make_divisions_exact(graph_module: torch.fx.GraphModule) -> None:
    """Rewrites every floor division of sizes that could be one of negative numbers, in place."""
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    for node in list(graph_module.graph.nodes):
        if node.target is not operator.floordiv:
            continue
        dividend, divisor = (_value(argument) for argument in node.args)
        if statically_known_true(dividend >= 0) and statically_known_true(divisor > 0):
            continue
        remainder = call(node, operator.mod, *node.args)
        node.args = (call(node, operator.sub, node.args[0], remainder), node.args[1])


def _value(argument: Any) -> Any:
    return argument.meta["val"] if hasattr(argument, "meta") else argument
