"""Shape and index arithmetic as formulas: integers known by where they stand and how large the tensor is.

Exporters compute slice bounds and scatter indices with ordinary operators. Each rule keeps the result a tiling of
ramps, so that index arithmetic never needs to run and never needs to be stored.
Refuses: anything that is not known integer by integer. Source: the ONNX operator specifications, opset 11 on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from s2deploy.rewrite.constants import Array, array_of, scalar_of
from s2deploy.rewrite.contents import Content, Ramp, Read, Scalar, Shape
from s2deploy.rewrite.coordinates import Bounds, Coord, divide, floor_divide
from s2deploy.rewrite.facts import Interpretation, Rule
from s2deploy.rewrite.refusals import NotMovementError
from s2deploy.rewrite.regions import Tiling, concat
from s2deploy.rewrite.rules_movement import broadcast, constant_ramp, int_attribute
from s2deploy.rewrite.tree import Cut, Node, joined

_LONGEST_VECTOR = 64
_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
_INTEGRAL = frozenset(
    {ir.DataType.BOOL} | {ir.DataType[f"{sign}INT{bits}"] for sign in ("", "U") for bits in (8, 16, 32, 64)}
)

Combine = Callable[[Bounds, Ramp, Ramp], Ramp]


def shape(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``Shape(x, start, end)``."""
    sizes = facts.shape(node.inputs[0])
    start = int_attribute(node, "start", 0)
    end = int_attribute(node, "end", len(sizes))
    return [_vector(sizes[slice(start, end)])]


def size(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``Size(x)``."""
    total: Coord = 1
    for dim in facts.shape(node.inputs[0]):
        total = total * dim
    return [Tiling.of(Ramp(total, ()), ())]


def range_(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``Range(start, limit, delta)`` of integers."""
    if not facts.is_integer(node.inputs[0]):
        raise NotMovementError("a range that is not of integers")
    (start,), (limit,), (delta,) = (facts.integers(value) for value in node.inputs)
    if not isinstance(delta, int) or delta == 0:
        raise NotMovementError("the step of a range is computed at run time")
    length = limit - start if delta > 0 else start - limit
    if not facts.bounds.require_at_most(0, length):
        length = 0
    count = length if abs(delta) == 1 else floor_divide(length + abs(delta) - 1, abs(delta))
    return [Tiling.of(Ramp(start, (delta,)), (count,))]


def constant_of_shape(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``ConstantOfShape(shape, value)``."""
    sizes = facts.integers(node.inputs[0])
    value = node.attributes["value"].as_tensor().numpy() if "value" in node.attributes else np.zeros(1, np.float32)
    if value.dtype.kind in "iub" and value.dtype.name.startswith(("int", "uint", "bool")):
        content: Content = Ramp(int(value.reshape(-1)[0]), (0,) * len(sizes))
    else:
        scalar = scalar_of(value)
        assert scalar is not None
        content = scalar
    return [Tiling.of(content, sizes)]


def cast(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``Cast(x, to)`` of known integers, booleans and constants."""
    return [_cast(facts, node, ir.DataType(node.attributes["to"].as_int()))]


def cast_like(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``CastLike(x, target)`` of known integers, booleans and constants."""
    like = node.inputs[1]
    if like is None or like.dtype is None:
        raise NotMovementError("the type to cast to is not known")
    return [_cast(facts, node, like.dtype)]


def _cast(facts: Interpretation, node: ir.Node, to: ir.DataType) -> Tiling:
    value = node.inputs[0]
    data = facts.tiling(value)
    if value is not None and value.dtype == to:
        return data
    if to == ir.DataType.BOOL and facts.is_integer(value):
        return data.map(lambda content, _: _truth(facts.bounds, content))
    if to in (ir.DataType.INT64, ir.DataType.INT32) and facts.is_integer(value):
        return data.map(_require_ramp if to == ir.DataType.INT64 else _require_narrow)
    content = data.root
    if value is None or value.dtype is None or not _is_known_constant(content):
        raise NotMovementError("a cast of values that are computed at run time")
    assert not isinstance(content, (Cut, Read))
    given = array_of(content, value.dtype)
    if not _is_exact(given, to):
        raise NotMovementError(f"a cast to {to} on which runtimes may differ")
    element = given.astype(to.numpy())
    if to in _INTEGRAL:
        return Tiling.of(Ramp(int(element), (0,) * data.rank), data.shape)
    scalar = scalar_of(element)
    assert scalar is not None
    return Tiling.of(scalar, data.shape)


def _require_narrow(content: Content, box: Shape) -> Ramp:
    """Requires a ramp whose numbers fit into 32 bits; sizes do."""
    ramp = _require_ramp(content, box)
    ends = [ramp.base, *(ramp.base + step * (size - 1) for step, size in zip(ramp.steps, box, strict=True))]
    if any(isinstance(end, int) and not -(1 << 31) <= end < 1 << 31 for end in ends):
        raise NotMovementError("a cast of numbers that do not fit")
    return ramp


def _is_exact(given: Array, to: ir.DataType) -> bool:
    """Whether the cast of a number is the same wherever it runs: no overflow, no rounding of a rare type."""
    if to in _FLOATS or to == ir.DataType.BOOL:
        return True
    if to not in _INTEGRAL or given.dtype.kind not in "iuf":
        return False
    limits = np.iinfo(to.numpy())
    return bool(np.isfinite(given)) and limits.min <= int(given) <= limits.max


def _is_known_constant(content: Node) -> bool:
    return isinstance(content, Scalar) or (
        isinstance(content, Ramp) and content.is_constant and isinstance(content.base, int)
    )


def elementwise(combine: Combine) -> Rule:
    """Returns the rule of an elementwise operator of two integer tensors."""

    def rule(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
        if len(node.inputs) != 2 or not all(facts.is_integer(value) for value in node.inputs):
            raise NotMovementError("not arithmetic on two tensors of integers")
        first, second = (facts.tiling(value) for value in node.inputs)
        result = broadcast(facts.bounds, first.shape, second.shape)

        def apply(left: Content, right: Content, box: Shape) -> Node:
            return _applied(combine, facts.bounds, _require_ramp(left, box), _require_ramp(right, box), box)

        return [first.expand(result).combine(facts.bounds, second.expand(result), apply)]

    return rule


def _applied(combine: Combine, bounds: Bounds, left: Ramp, right: Ramp, box: Shape) -> Node:
    """Combines two ramps as a whole, or element by element where only constants can be combined."""
    try:
        return combine(bounds, left, right)
    except NotMovementError:
        if len(box) != 1 or not isinstance(box[0], int) or not 1 < box[0] <= _LONGEST_VECTOR:
            raise
    parts: list[tuple[Coord, Node]] = []
    for i in range(box[0]):
        first, second = (Ramp(ramp.base + ramp.steps[0] * i, (0,)) for ramp in (left, right))
        parts.append((1, combine(bounds, first, second)))
    return joined(0, parts)


def negate(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``Neg(x)`` of integers."""
    return [facts.tiling(node.inputs[0]).map(lambda content, box: _scaled(_require_ramp(content, box), -1))]


def not_(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``Not(x)``."""
    one = facts.tiling(node.inputs[0])
    return [one.map(lambda content, _: _flag(content, facts.bounds, invert=True))]


def reduce_prod(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``ReduceProd(x)`` of a vector of sizes to one number."""
    if not facts.is_integer(node.inputs[0]) or len(facts.shape(node.inputs[0])) != 1:
        raise NotMovementError("a product over more than a vector of sizes")
    axes = len(node.inputs) > 1 and node.inputs[1] is not None
    if int_attribute(node, "noop_with_empty_axes", 0) == 1 and not axes:
        return [facts.tiling(node.inputs[0])]
    total: Coord = 1
    for factor in facts.integers(node.inputs[0]):
        total = total * factor
    kept = int_attribute(node, "keepdims", 1) == 1
    return [_vector([total]) if kept else Tiling.of(Ramp(total, ()), ())]


def non_zero(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``NonZero(x)`` of a vector without zeros: its positions."""
    data = facts.tiling(node.inputs[0])
    value = constant_ramp(data)
    if data.rank != 1 or value is None or facts.bounds.equal(value, 0) is not False:
        raise NotMovementError("which elements are zero is not known")
    return [Tiling.of(Ramp(0, (0, 1)), (1, data.shape[0]))]


def add(_: Bounds, left: Ramp, right: Ramp) -> Ramp:
    """The sum of two ramps."""
    return Ramp(left.base + right.base, tuple(a + b for a, b in zip(left.steps, right.steps, strict=True)))


def subtract(bounds: Bounds, left: Ramp, right: Ramp) -> Ramp:
    """The difference of two ramps."""
    return add(bounds, left, _scaled(right, -1))


def multiply(_: Bounds, left: Ramp, right: Ramp) -> Ramp:
    """The product of two ramps, one of which must be constant."""
    if right.is_constant:
        return _scaled(left, right.base)
    if left.is_constant:
        return _scaled(right, left.base)
    raise NotMovementError("a product of two indices")


def quotient(bounds: Bounds, left: Ramp, right: Ramp) -> Ramp:
    """The integer quotient of constants, which truncates towards zero."""
    if not (left.is_constant and right.is_constant):
        raise NotMovementError("a quotient of indices")
    exact = divide(left.base, right.base)
    if exact is None:
        if not (bounds.require_at_most(0, left.base) and bounds.require_at_most(1, right.base)):
            raise NotMovementError("a quotient of negative numbers")
        exact = floor_divide(left.base, right.base)
    return Ramp(exact, left.steps)


def remainder(bounds: Bounds, left: Ramp, right: Ramp) -> Ramp:
    """The remainder of constants that are not negative."""
    whole = quotient(bounds, left, right)
    return subtract(bounds, left, _scaled(right, whole.base))


def equal(bounds: Bounds, left: Ramp, right: Ramp) -> Ramp:
    """Whether two constants are equal."""
    verdict = bounds.equal(left.base, right.base) if left.steps == right.steps else None
    if verdict is None:
        raise NotMovementError(f"whether {left.base} and {right.base} are equal is not known")
    return _boolean(verdict, left)


def at_most(bounds: Bounds, left: Ramp, right: Ramp) -> Ramp:
    """Whether one constant is at most another."""
    difference = subtract(bounds, right, left)
    if not difference.is_constant:
        raise NotMovementError("a comparison of indices")
    return _boolean(bounds.require_at_most(0, difference.base), left)


def less(bounds: Bounds, left: Ramp, right: Ramp) -> Ramp:
    """Whether one constant is less than another."""
    return at_most(bounds, Ramp(left.base + 1, left.steps), right)


def smaller(bounds: Bounds, left: Ramp, right: Ramp) -> Ramp:
    """The smaller of two constants."""
    return left if at_most(bounds, left, right).base == 1 else right


def larger(bounds: Bounds, left: Ramp, right: Ramp) -> Ramp:
    """The larger of two constants."""
    return right if at_most(bounds, left, right).base == 1 else left


def both(bounds: Bounds, left: Ramp, right: Ramp) -> Ramp:
    """Whether two conditions hold."""
    return smaller(bounds, left, right)


def either(bounds: Bounds, left: Ramp, right: Ramp) -> Ramp:
    """Whether one of two conditions holds."""
    return larger(bounds, left, right)


def _vector(sizes: Sequence[Coord]) -> Tiling:
    if not sizes:
        return Tiling.of(Ramp(0, (0,)), (0,))
    return concat(0, [Tiling.of(Ramp(size, (0,)), (1,)) for size in sizes])


def _scaled(ramp: Ramp, factor: Coord) -> Ramp:
    return Ramp(ramp.base * factor, tuple(step * factor for step in ramp.steps))


def _boolean(verdict: bool, like: Ramp) -> Ramp:
    return Ramp(int(verdict), (0,) * len(like.steps))


def _require_ramp(content: Content, _: Shape) -> Ramp:
    if not isinstance(content, Ramp):
        raise NotMovementError("arithmetic on values that are computed at run time")
    return content


def _flag(content: Content, bounds: Bounds, *, invert: bool) -> Ramp:
    ramp = _truth(bounds, content)
    return Ramp(1 - ramp.base, ramp.steps) if invert else ramp


def _truth(bounds: Bounds, content: Content) -> Ramp:
    """Returns a ramp of known numbers as 0 and 1."""
    if isinstance(content, Scalar) or not isinstance(content, Ramp) or not content.is_constant:
        raise NotMovementError("a condition on values that are computed at run time")
    zero = bounds.equal(content.base, 0)
    if zero is None:
        raise NotMovementError(f"whether {content.base} is zero is not known")
    return _boolean(not zero, content)
