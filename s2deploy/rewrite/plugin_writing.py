"""Writes nodes of known types and shapes in front of a node: the operators, and the views they need around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.initializers import add_initializer


class Writer:
    """Inserts nodes in front of a node.

    Args:
        graph: The graph.
        before: The node; new ones take over where it comes from.
    """

    def __init__(self, graph: ir.Graph, before: ir.Node) -> None:
        self._graph, self._before = graph, before
        self._added: Counter[str] = Counter()

    @property
    def added(self) -> Mapping[str, int]:
        """The operators inserted so far, with their numbers."""
        return dict(self._added)

    def place(self, node: ir.Node, dtype: ir.DataType, shape: Shape) -> ir.Value:
        """Inserts a node and returns its output, of the given type and shape."""
        self._added[node.op_type] += 1
        node.metadata_props.update(self._before.metadata_props)
        self._graph.insert_before(self._before, node)
        output = node.outputs[0]
        output.type = ir.TensorType(dtype)
        output.shape = ir.Shape([size if isinstance(size, int) else str(size) for size in shape])
        return output

    def transposed(self, value: ir.Value, dtype: ir.DataType, shape: Shape, perm: Sequence[int]) -> ir.Value:
        """Returns a value of the given shape with axis ``t`` taken from axis ``perm[t]``."""
        if list(perm) == list(range(len(perm))):
            return value
        node = ir.node("Transpose", [value], {"perm": list(perm)})
        return self.place(node, dtype, tuple(shape[axis] for axis in perm))

    def viewed(self, value: ir.Value, dtype: ir.DataType, shape: Shape, target: Shape) -> ir.Value:
        """Returns a value of one shape in another for which there is a `reshape_target`."""
        if shape == target:
            return value
        sizes = reshape_target(shape, target)
        assert sizes is not None
        to = add_initializer(self._graph, "s2deploy_view", np.array(sizes, dtype=np.int64))
        return self.place(ir.node("Reshape", [value, to]), dtype, target)


def reshape_target(shape: Shape, target: Shape) -> list[int] | None:
    """Returns the second input of a Reshape, None where more than one size depends on dimensions anew."""
    sizes = []
    for axis, size in enumerate(target):
        if isinstance(size, int):
            sizes.append(size)
        else:
            sizes.append(0 if axis < len(shape) and shape[axis] == size else -1)
    return sizes if sizes.count(-1) <= 1 and not any(size == 0 for size in target) else None
