"""Nodes of a graph in another order of axes: what they are written with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from s2deploy.rewrite.constants import Array
from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.coordinates import Coord
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.initializers import add_initializer
from s2deploy.rewrite.reshape_targets import short_target

Perm = tuple[int, ...]
"""For each axis of the new order, the axis of the old one."""


class Writer:
    """Writes nodes in front of others and keeps every tensor in the orders it was asked for.

    Args:
        facts: The facts about the graph that receives the nodes.

    Attributes:
        facts: The same.
        written: The nodes that were written, in that order.
    """

    def __init__(self, facts: Interpretation) -> None:
        self.facts = facts
        self.written: list[ir.Node] = []
        self._versions: dict[ir.Value, dict[Perm, ir.Value]] = {}
        self._constants: dict[tuple[object, ...], ir.Value] = {}

    def shape(self, value: ir.Value) -> Shape:
        """Returns the shape of a value of the original graph."""
        return self.facts.shape(value)

    def keep(self, value: ir.Value, perm: Perm, version: ir.Value) -> None:
        """Records a value in an order."""
        self._versions.setdefault(value, {})[perm] = version

    def version(self, value: ir.Value, perm: Perm) -> ir.Value:
        """Returns a value in an order, transposed right after it is computed if it is not there yet."""
        versions = self._versions[value]
        if perm not in versions:
            own, there = next(iter(versions.items()))
            step = tuple(own.index(axis) for axis in perm)
            node = ir.node("Transpose", [there], {"perm": step})
            producer = there.producer()
            if producer is None:
                self.facts.graph.insert_before(self.facts.graph[0], node)
            else:
                node.metadata_props.update(producer.metadata_props)
                self.facts.graph.insert_after(producer, node)
            shape = self.shape(value)
            annotate(node.outputs[0], value, tuple(shape[axis] for axis in perm))
            self.written.append(node)
            versions[perm] = node.outputs[0]
        return versions[perm]

    def add(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        before: ir.Node,
        *,
        like: ir.Value,
        perm: Perm | None = None,
        shape: Shape | None = None,
        attributes: Mapping[str, object] | None = None,
    ) -> ir.Value:
        """Adds a node of one output.

        Args:
            op_type: Its operator.
            inputs: Its inputs.
            before: The node in front of which it goes, and whose metadata it takes.
            like: The original value whose type the output has.
            perm: The order in which the output has the axes of `like`.
            shape: The shape of the output, where it is not that of `like` in another order.
            attributes: Its attributes.
        """
        node = ir.node(op_type, inputs, attributes or {}, metadata_props=dict(before.metadata_props))  # type: ignore[arg-type]
        self._insert(node, before)
        if shape is None:
            full = self.shape(like)
            shape = tuple(full[axis] for axis in perm or range(len(full)))
        annotate(node.outputs[0], like, shape)
        return node.outputs[0]

    def copy(
        self,
        node: ir.Node,
        inputs: Sequence[ir.Value | None],
        perms: Sequence[Perm],
        attributes: Mapping[str, object] | None = None,
    ) -> Sequence[ir.Value]:
        """Adds a node like another, with other inputs, some other attributes, and its outputs in other orders."""
        kept = {name: attribute for name, attribute in node.attributes.items() if name not in (attributes or {})}
        new = ir.Node(
            "",
            node.op_type,
            inputs,
            [*kept.values(), *ir.convenience.convert_attributes(attributes or {})],  # type: ignore[arg-type]
            num_outputs=len(node.outputs),
            metadata_props=dict(node.metadata_props),
        )
        self._insert(new, node)
        for old, value, perm in zip(node.outputs, new.outputs, perms, strict=True):
            full = self.facts.known_shape(old)
            if full is not None:
                annotate(value, old, tuple(full[axis] for axis in perm))
        return new.outputs

    def constant(self, array: Array, name: str) -> ir.Value:
        """Returns an initializer with the given elements."""
        key = (name, array.dtype.str, array.shape, array.tobytes() if array.size < 1024 else None)
        if key not in self._constants or array.size >= 1024:
            self._constants[key] = add_initializer(self.facts.graph, name, array)
        return self._constants[key]

    def rearranged(self, value: ir.Value, perm: Sequence[int], shape: Sequence[int] | None = None) -> ir.Value:
        """Returns a constant with its axes in another order, and then in another shape if one is given."""
        assert value.const_value is not None
        array = value.const_value.numpy()
        wanted = tuple(array.shape[axis] for axis in perm) if shape is None else tuple(shape)
        if tuple(perm) == tuple(range(array.ndim)) and wanted == array.shape:
            return value
        key = (value, tuple(perm), wanted)
        if key not in self._constants:
            turned = np.ascontiguousarray(array.transpose(perm)).reshape(wanted)
            tensor = ir.Tensor(turned, dtype=value.const_value.dtype)
            self._constants[key] = add_initializer(self.facts.graph, f"{value.name}_arranged", tensor)
        return self._constants[key]

    def reshaped_matrix(self, value: ir.Value, turn: bool, shape: Sequence[int]) -> ir.Value:
        """Returns a constant matrix, transposed where asked, in another shape; computed when the file is written."""
        tensor = value.const_value
        assert tensor is not None
        sizes = [int(str(size)) for size in tensor.shape]
        if not turn and sizes == list(shape):
            return value
        key = (value, turn, tuple(shape))
        if key not in self._constants:

            def turned() -> ir.TensorProtocol:
                matrix = tensor.numpy().reshape(sizes[:2])
                return ir.Tensor(np.ascontiguousarray(matrix.T if turn else matrix).reshape(shape), dtype=tensor.dtype)

            lazy = ir.LazyTensor(turned, dtype=tensor.dtype, shape=ir.Shape(shape), name=None)
            self._constants[key] = add_initializer(self.facts.graph, f"{value.name}_arranged", lazy)
        return self._constants[key]

    def ints(self, numbers: Sequence[int]) -> ir.Value:
        """Returns a constant vector of int64."""
        return self.constant(np.array(numbers, np.int64), "s2deploy_axes")

    def _insert(self, node: ir.Node, before: ir.Node) -> None:
        self.facts.graph.insert_before(before, node)
        self.written.append(node)


def annotate(value: ir.Value, like: ir.Value, shape: Shape) -> None:
    """Gives a value the type of another, and a shape."""
    value.type = like.type
    value.shape = ir.Shape([size if isinstance(size, int) else str(size) for size in shape])


def full_target(facts: Interpretation, before: Sequence[Coord], after: Sequence[Coord]) -> list[int] | None:
    """Returns the target of a Reshape from one shape to another; None where a size would have to be computed."""
    target = short_target(facts.bounds, tuple(before), after)
    if target is None:
        return None
    numbers = [number for number in target if number is not None]
    return numbers if len(numbers) == len(target) else None


def product(sizes: Sequence[Coord]) -> Coord:
    """Returns the product of sizes."""
    total: Coord = 1
    for size in sizes:
        total = total * size
    return total
