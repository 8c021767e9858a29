"""A linear map along one axis, in the form that the order of axes and the runtime make the cheapest.

Before: ``MatMul(x, W)`` along the last axis, ``MatMul(W, x)`` along the last but one, or a Conv of size 1, each with
or without ``Add`` of a bias. After: any of these, for the same map along the same axis of a transposed x.
Requires: a constant matrix; a Conv without groups, strides, or padding. Refuses products of two computed tensors.
Preserves the value up to the rounding of another kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.layout_nodes import constant_shape, is_constant
from s2deploy.rewrite.layout_writing import Perm, Writer, full_target, product
from s2deploy.rewrite.rules_movement import int_attribute, ints_attribute

_CONVOLVED = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16})
"""What onnxruntime has a Conv for, or casts to what it has."""


@dataclass(frozen=True)
class Linear:
    """A linear map, ``y[..., m, ...] = sum_k W[k, m] * x[..., k, ...] + b[m]``.

    Attributes:
        node: The product.
        add: The addition of the bias, a node of its own; None where the product has it or there is none.
        data: What is mapped.
        axis: The axis along which.
        matrix: The constant that holds W.
        is_transposed: Whether it holds W by output and then input channel; more axes of size 1 may follow.
        bias: The constant that holds the bias.
        form: How it is written.
    """

    node: ir.Node
    add: ir.Node | None
    data: ir.Value
    axis: int
    matrix: ir.Value
    is_transposed: bool
    bias: ir.Value | None
    form: str

    @property
    def output(self) -> ir.Value:
        """The value it gives."""
        return (self.add or self.node).outputs[0]

    @property
    def channels(self) -> tuple[int, int]:
        """Input and output channels."""
        first, second = (constant_shape(self.matrix) or ())[:2]
        return (second, first) if self.is_transposed else (first, second)


def linear_of(facts: Interpretation, node: ir.Node) -> Linear | None:
    """Returns the linear map that a node is, None where it is none."""
    if node.domain != "" or node.op_type not in ("MatMul", "Conv") or any(value is None for value in node.inputs[:2]):
        return None
    found = _product(facts, node) if node.op_type == "MatMul" else _convolution(facts, node)
    if found is None or found.bias is not None:
        return found
    rank = len(facts.shape(found.data))
    add, bias = _bias(found.node, rank, found.axis, found.channels[1])
    return (
        found
        if add is None
        else Linear(found.node, add, found.data, found.axis, found.matrix, found.is_transposed, bias, found.form)
    )


def forms(rank: int, place: int) -> list[str]:
    """Returns how a map along an axis at a place can be written."""
    found = []
    if place == rank - 1:
        found.append("MatMul")
    if place == rank - 2 and rank >= 2:
        found.append("left MatMul")
    if place == 1 and 3 <= rank <= 5:
        found.append("Conv")
    if place == 1 and rank >= 4:
        found.append("left MatMul of rows")
    return found


def write_linear(
    writer: Writer, linear: Linear, form: str, version: ir.Value, perm: Perm, like: ir.Value | None = None
) -> ir.Value:
    """Writes a linear map in front of its node and returns its output.

    Args:
        writer: Writes nodes.
        linear: The map.
        form: One of `forms`.
        version: What is mapped, with its axes in another order.
        perm: That order.
        like: A value of the type and shape that the result has before its axes are exchanged; the output unless given.
    """
    out, before = linear.output if like is None else like, linear.add or linear.node
    inputs, channels = linear.channels
    matrix = _matrix(writer, linear, transposed=form != "MatMul", spatial=len(perm) - 2 if form == "Conv" else 0)
    if form == "Conv":
        operands = (
            [version, matrix] if linear.bias is None else [version, matrix, _shaped(writer, linear.bias, channels)]
        )
        kernel = {"kernel_shape": [1] * (len(perm) - 2)}
        return writer.add("Conv", operands, before, like=out, perm=perm, attributes=kernel)
    full = tuple(writer.shape(linear.data)[axis] for axis in perm)
    shape = tuple(writer.shape(out)[axis] for axis in perm)
    rows = form == "left MatMul of rows"
    data, given = version, shape
    if rows:
        flat, given = (full[0], inputs, product(full[2:])), (full[0], channels, product(full[2:]))
        target = full_target(writer.facts, full, flat)
        assert target is not None
        data = writer.add("Reshape", [version, writer.ints(target)], before, like=linear.data, shape=flat)
    factors = [data, matrix] if form == "MatMul" else [matrix, data]
    result = writer.add("MatMul", factors, before, like=out, shape=given)
    if linear.bias is not None:
        bias = _shaped(writer, linear.bias, channels, *[1] * (form != "MatMul"))
        result = writer.add("Add", [result, bias], before, like=out, shape=given)
    if rows:
        target = full_target(writer.facts, given, shape)
        assert target is not None
        result = writer.add("Reshape", [result, writer.ints(target)], before, like=out, shape=shape)
    return result


def is_writable(facts: Interpretation, linear: Linear, form: str, perm: Perm) -> bool:
    """Whether a linear map has a form in an order: its type and what is known of its sizes allow it."""
    if form == "Conv":
        return linear.data.dtype in _CONVOLVED
    if form != "left MatMul of rows":
        return True
    full = tuple(facts.shape(linear.data)[axis] for axis in perm)
    flat = (full[0], linear.channels[0], product(full[2:]))
    return full_target(facts, full, flat) is not None and full_target(facts, flat, full) is not None


def _product(facts: Interpretation, node: ir.Node) -> Linear | None:
    left, right = node.inputs
    assert left is not None
    assert right is not None
    for data, factor, is_left in ((left, right, False), (right, left, True)):
        matrix, turned = _constant_matrix(factor)
        shape = facts.known_shape(data)
        if matrix is None or is_constant(data) or shape is None or len(shape) < 2:
            continue
        axis = len(shape) - 2 if is_left else len(shape) - 1
        return Linear(node, None, data, axis, matrix, turned != is_left, None, "left MatMul" if is_left else "MatMul")
    return None


def _convolution(facts: Interpretation, node: ir.Node) -> Linear | None:
    data, weight = node.inputs[:2]
    sizes = constant_shape(weight)
    if data is None or weight is None or sizes is None or is_constant(data):
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    plain = all(size == 1 for size in (*sizes[2:], *(ints_attribute(node, "strides") or ()))) and not any(
        ints_attribute(node, "pads") or ()
    )
    shape = facts.known_shape(data)
    if not plain or int_attribute(node, "group", 1) != 1 or (bias is not None and not is_constant(bias)):
        return None
    if shape is None or not 3 <= len(shape) <= 5:
        return None
    return Linear(node, None, data, 1, weight, True, bias, "Conv")


def _constant_matrix(value: ir.Value) -> tuple[ir.Value | None, bool]:
    """Returns the constant that a matrix is, or is the transpose of, and whether it is."""
    producer = value.producer()
    turned = False
    if (
        producer is not None
        and producer.op_type == "Transpose"
        and producer.domain == ""
        and producer.inputs[0] is not None
    ):
        if ints_attribute(producer, "perm") not in (None, (1, 0)):
            return None, False
        value, turned = producer.inputs[0], True
    return (value, turned) if len(constant_shape(value) or ()) == 2 else (None, False)


def _bias(node: ir.Node, rank: int, axis: int, channels: int) -> tuple[ir.Node | None, ir.Value | None]:
    """Returns the addition of a constant along one axis that alone reads a product, and the constant."""
    out = node.outputs[0]
    uses = list(out.uses())
    if (
        len(uses) != 1
        or out.is_graph_output()
        or uses[0].node.op_type != "Add"
        or uses[0].node.domain != ""
        or uses[0].node.graph is not node.graph
    ):
        return None, None
    add = uses[0].node
    bias = next((value for value in add.inputs if value is not out), None)
    shape = list(constant_shape(bias) or ())
    wanted = [channels if t == axis else 1 for t in range(rank)]
    if not 0 < len(shape) <= rank or shape != wanted[rank - len(shape) :] or axis < rank - len(shape):
        return None, None
    return add, bias


def _matrix(writer: Writer, linear: Linear, *, transposed: bool, spatial: int = 0) -> ir.Value:
    """Returns W as an initializer, by output channel first where `transposed`, with axes of size 1 after it."""
    turn = transposed != linear.is_transposed
    inputs, channels = linear.channels
    shape = (*((channels, inputs) if transposed else (inputs, channels)), *[1] * spatial)
    return writer.reshaped_matrix(linear.matrix, turn, shape)


def _shaped(writer: Writer, bias: ir.Value, *shape: int) -> ir.Value:
    return writer.rearranged(bias, range(len(constant_shape(bias) or ())), shape)
