"""What operators do to axes: which axes of their inputs are which of their outputs.

Requires known ranks and constant axes. Refuses the operators that mean their axes by position (Conv, Gemm, Resize).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from s2deploy.rewrite.axes import Atoms
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.refusals import NotMovementError
from s2deploy.rewrite.rules_movement import int_attribute, ints_attribute

AxesOf = Callable[[ir.Value], Sequence[int]]

UNARY = frozenset(
    {"Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cast", "Ceil", "Celu", "Cos", "Cosh"}
    | {"Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN"}
    | {"LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid"}
    | {"Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Tan", "Tanh", "ThresholdedRelu"}
)
BROADCASTING = frozenset(
    {"Add", "And", "Clip", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max"}
    | {"Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor"}
)
REDUCING = frozenset(
    {"ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"}
    | {"ReduceSum", "ReduceSumSquare"}
)
ALONG_ONE_AXIS = frozenset({"Concat", "LogSoftmax", "Softmax", "Split"})


class RigidError(Exception):
    """A node needs its axes as they are; the message says why."""


@dataclass(frozen=True)
class Relation:
    """What a node does to axes, as variables of `axes.py`.

    Attributes:
        same: Pairs of the same axis.
        merged: An axis, and those it is made of.
        last: Values whose last axes, this many, must stay the last.
    """

    same: Sequence[tuple[int, int]]
    merged: Sequence[tuple[int, Atoms]] = ()
    last: Mapping[ir.Value, int] = field(default_factory=dict)


def is_constant(value: ir.Value | None) -> bool:
    """Whether a value is an initializer that nobody can override."""
    return (
        value is not None and value.const_value is not None and not value.is_graph_input() and value.producer() is None
    )


def constant_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """Returns the shape of a constant, None for anything else."""
    if not is_constant(value) or value is None or value.const_value is None:
        return None
    return tuple(int(str(size)) for size in value.const_value.shape)


def moving(node: ir.Node) -> list[ir.Value]:
    """Returns the inputs of a node that have axes to put in order: not its constants, indices and bounds."""
    many = node.op_type in BROADCASTING or node.op_type == "Concat"
    values = node.inputs if many else node.inputs[:1]
    return [value for value in values if value is not None and not is_constant(value)]


def relation(facts: Interpretation, node: ir.Node, axes: AxesOf) -> Relation:
    """Returns what a node does to axes.

    Raises:
        RigidError: It needs its axes as they are, or too little is known of it.
    """
    op_type = node.op_type
    if node.domain != "" or any(a.type == ir.AttributeType.GRAPH for a in node.attributes.values()):
        raise RigidError(f"{op_type} is not known")
    try:
        if op_type in UNARY:
            return Relation(_same(axes(first_input(node)), axes(node.outputs[0])))
        if op_type in BROADCASTING:
            outer = axes(node.outputs[0])
            return Relation(
                [pair for value in moving(node) for pair in zip(reversed(axes(value)), reversed(outer), strict=False)]
            )
        if op_type in ALONG_ONE_AXIS or op_type in ("Slice", "Pad"):
            _check_along(facts, node)
            own = [*moving(node), *node.outputs]
            if len(own) == len(node.outputs):
                raise RigidError("it reads no tensor")
            return Relation([pair for value in own[1:] for pair in _same(axes(own[0]), axes(value))])
        if op_type == "LayerNormalization":
            if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
                raise RigidError("its mean is read as well")
            first, out = first_input(node), node.outputs[0]
            rank = len(axes(first))
            count = rank - int_attribute(node, "axis", -1) % rank
            return Relation(_same(axes(first), axes(out)), last={first: count, out: count})
        if op_type in REDUCING or op_type in ("Squeeze", "Unsqueeze", "Gather"):
            return Relation(_dropping(facts, node, axes))
        if op_type == "Reshape":
            return _regrouped(facts, node, axes)
    except NotMovementError as error:
        raise RigidError(str(error)) from error
    raise RigidError(f"{op_type} means its axes by position")


def named_axes(facts: Interpretation, node: ir.Node) -> list[int] | None:
    """Returns the axes that a reduction, Squeeze or Unsqueeze names; None where it names none.

    Raises:
        NotMovementError: They are computed.
    """
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        return [int(str(axis)) for axis in facts.integers(node.inputs[1])]
    stated = ints_attribute(node, "axes")
    return None if stated is None else list(stated)


def touched_axes(facts: Interpretation, node: ir.Node) -> list[int]:
    """Returns the axes along which a node that moves elements does not copy its whole input.

    Raises:
        NotMovementError: They are computed.
    """
    rank = len(facts.shape(node.inputs[0]))
    if node.op_type in (*ALONG_ONE_AXIS, "Gather"):
        return [one_axis(node, rank)]
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        return [int(str(axis)) % rank for axis in facts.integers(node.inputs[3])]
    numbers = facts.integers(node.inputs[1])
    if node.op_type == "Pad":
        return [axis for axis in range(rank) if numbers[axis] != 0 or numbers[axis + rank] != 0]
    return list(range(len(numbers)))


def one_axis(node: ir.Node, rank: int) -> int:
    """Returns the axis that a node names in its attribute."""
    return int_attribute(node, "axis", 0 if node.op_type in ("Gather", "Split") else -1) % rank


def first_input(node: ir.Node) -> ir.Value:
    """Returns the tensor that a node reads.

    Raises:
        RigidError: It is missing or a constant.
    """
    if not node.inputs or node.inputs[0] is None or is_constant(node.inputs[0]):
        raise RigidError("it reads no tensor")
    return node.inputs[0]


def _same(first: Sequence[int], second: Sequence[int]) -> list[tuple[int, int]]:
    if len(first) != len(second):
        raise RigidError("its ranks do not fit")
    return list(zip(first, second, strict=True))


def _check_along(facts: Interpretation, node: ir.Node) -> None:
    if node.op_type in ("Softmax", "LogSoftmax") and facts.opset < 13:
        raise RigidError(f"{node.op_type} flattens before opset 13")
    if node.op_type in ("Pad", "Slice"):
        touched_axes(facts, node)


def _dropping(facts: Interpretation, node: ir.Node, axes: AxesOf) -> list[tuple[int, int]]:
    """Relates the axes of a node that drops or adds some."""
    before, after = list(axes(first_input(node))), list(axes(node.outputs[0]))
    if node.op_type == "Gather":
        indices = constant_shape(node.inputs[1])
        if indices is None or len(indices) > 1:
            raise RigidError("its indices are computed, or not a row")
        if not indices:
            del before[one_axis(node, len(before))]
        return _same(before, after)
    named = named_axes(facts, node)
    if node.op_type == "Unsqueeze":
        gone = {axis % len(after) for axis in named or ()}
        return _same(before, [axis for t, axis in enumerate(after) if t not in gone])
    if node.op_type in REDUCING:
        if int_attribute(node, "keepdims", 1):
            return _same(before, after)
        if named is None or not named:
            if int_attribute(node, "noop_with_empty_axes", 0):
                return _same(before, after)
            return []
    if named is None:
        raise RigidError("it does not name its axes")
    gone = {axis % len(before) for axis in named}
    return _same([axis for t, axis in enumerate(before) if t not in gone], after)


def _regrouped(facts: Interpretation, node: ir.Node, axes: AxesOf) -> Relation:
    """Relates the axes of a Reshape that merges axes, splits them, or adds and drops axes of size 1."""
    first, out = first_input(node), node.outputs[0]
    before, after = facts.shape(first), facts.shape(out)
    old, new = axes(first), axes(out)
    same: list[tuple[int, int]] = []
    merged: list[tuple[int, Atoms]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        if i < len(before) and j < len(after) and before[i] == after[j]:
            same.append((old[i], new[j]))
            i, j = i + 1, j + 1
        elif i < len(before) and before[i] == 1:
            i += 1
        elif j < len(after) and after[j] == 1:
            j += 1
        elif i == len(before) or j == len(after):
            raise RigidError("it neither merges nor splits whole axes")
        else:
            count = _grouped(before[i], after[j:])
            if count:
                merged.append((old[i], tuple(new[j : j + count])))
                i, j = i + 1, j + count
                continue
            count = _grouped(after[j], before[i:])
            if not count:
                raise RigidError("it neither merges nor splits whole axes")
            merged.append((new[j], tuple(old[i : i + count])))
            i, j = i + count, j + 1
    return Relation(same, merged)


def _grouped(whole: object, parts: Sequence[object]) -> int:
    """Returns how many sizes at the start of a list have a size as their product, 0 where none do."""
    product = 1
    for count, part in enumerate(parts, 1):
        product = product * part  # type: ignore[operator]
        if product == whole and count > 1:
            return count
    return 0
