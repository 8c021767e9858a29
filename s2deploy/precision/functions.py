"""Local functions of a model: those written out that converters and parsers cannot look into.

Before: nodes of local functions, of which those of domain `s2deploy.ops.DOMAIN` are operators of the plugins.
After: what the functions compute; the operators stay nodes where plugins will compute them.
Refused: nothing.
Preserves: shapes, dtypes, values; names of inputs and outputs.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from s2deploy.ops import DOMAIN, op_named

if TYPE_CHECKING:
    import onnx_ir as ir


def inline(model: ir.Model, *, keep_operators: bool = False) -> bool:
    """Replaces every node of a local function by what the function computes, and tells whether there was one.

    Args:
        model: The model; it is changed.
        keep_operators: Whether operators of the plugins stay nodes with their functions.
    """
    from onnx_ir.passes.common import InlinePass

    gone = [name for name, function in model.functions.items() if not (keep_operators and _is_body(function))]
    if not gone:
        return False
    InlinePass(None if not keep_operators else lambda function: not _is_body(function))(model)
    for name in gone:
        model.functions.pop(name, None)
    if not any(is_operator(node) for node in model.graph.all_nodes()):
        model.graph.opset_imports.pop(DOMAIN, None)
    return True


def operators(model: ir.Model) -> dict[str, int]:
    """Returns how often each operator of the plugins occurs."""
    found = (op_named(node.domain, node.op_type) for node in model.graph.all_nodes())
    return dict(Counter(op.name for op in found if op is not None))


def have_functions(model: ir.Model) -> bool:
    """Whether every operator of the plugins has a function, so that it can be written out."""
    nodes = (node for node in model.graph.all_nodes() if is_operator(node))
    return all(node.op_identifier() in model.functions for node in nodes)


def is_operator(node: ir.Node) -> bool:
    """Whether a node is one of the operators of `s2deploy.ops`."""
    return op_named(node.domain, node.op_type) is not None


def gives_float32(node: ir.Node) -> bool:
    """Whether a node is an operator of the plugins whose result is float32 whatever it is given."""
    op = op_named(node.domain, node.op_type)
    return op is not None and op.output.type == "float32"


def _is_body(function: ir.Function) -> bool:
    return op_named(function.domain, function.name) is not None
