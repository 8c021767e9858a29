"""Local functions of a model: those written out that converters and parsers cannot look into.

Before: nodes of local functions, of which those of domain `s2deploy.ops.DOMAIN` are operators of the plugins.
After: what the functions compute; the operators stay nodes where plugins will compute them. Nodes that a function of an
operator was written out to know which one they come from.
Refused: nothing.
Preserves: shapes, dtypes, values; names of inputs and outputs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from s2deploy.ops import DOMAIN, op_named

if TYPE_CHECKING:
    import onnx_ir as ir

_OPERATOR_KEY, _NODE_KEY = "s2deploy.operator", "s2deploy.operator_node"


@dataclass(frozen=True)
class Origin:
    """Where a node comes from that was written out.

    Attributes:
        operator: The operator of the plugins.
        node: The name of the operator's node.
    """

    operator: str
    node: str


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
    for node in chain(model.graph.all_nodes(), *(function.all_nodes() for function in model.functions.values())):
        op = op_named(node.domain, node.op_type)
        if op is not None and node.op_identifier() in gone:  # what it becomes inherits its metadata
            node.metadata_props.update({_OPERATOR_KEY: op.name, _NODE_KEY: str(node.name)})
    InlinePass(None if not keep_operators else lambda function: not _is_body(function))(model)
    for name in gone:
        model.functions.pop(name, None)
    if not any(is_operator(node) for node in model.graph.all_nodes()):
        model.graph.opset_imports.pop(DOMAIN, None)
    return True


def written_out_of(node: ir.Node) -> Origin | None:
    """Returns where a node comes from; None where it is none of a function of an operator of the plugins."""
    stated = node.metadata_props
    return Origin(stated[_OPERATOR_KEY], stated[_NODE_KEY]) if _OPERATOR_KEY in stated else None


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
