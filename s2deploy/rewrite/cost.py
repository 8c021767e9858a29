"""What movement costs, in one unit for nodes that exist and for expressions that would replace them.

A node costs its dispatch and what it copies; one that only changes the shape copies nothing. The constants make
32768 copied elements as dear as one dispatch, the order of magnitude of a CPU runtime; they only rank alternatives.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.expressions import Expression, Fill, Reshape, Source, Squeeze, Unsqueeze, elements

_DISPATCH = 2.0
_VIEW = 1.0
_ELEMENTS_PER_DISPATCH = 32768.0
_VIEWS = frozenset({"Identity", "Reshape", "Squeeze", "Unsqueeze"})


def expression_cost(expression: Expression, sizes: Mapping[str, int]) -> float:
    """Returns the cost of one expression, its operands not counted."""
    if isinstance(expression, Source):
        return 0.0
    if isinstance(expression, Fill) and all(isinstance(size, int) for size in expression.shape):
        return 0.0
    if isinstance(expression, (Reshape, Squeeze, Unsqueeze)):
        return _VIEW
    return _DISPATCH + elements(expression.shape, sizes) / _ELEMENTS_PER_DISPATCH


def node_cost(node: ir.Node, shapes: Mapping[ir.Value, Shape], sizes: Mapping[str, int]) -> float:
    """Returns the cost of one movement node; the shapes of its outputs are given."""
    if node.op_type in _VIEWS:
        return _VIEW
    moved = sum(elements(shapes[value], sizes) for value in node.outputs if value in shapes)
    return _DISPATCH + moved / _ELEMENTS_PER_DISPATCH
