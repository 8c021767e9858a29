"""Shape and index arithmetic as formulas: integers known by where they stand and how large the tensor is.

Exporters compute slice bounds and scatter indices with ordinary operators. Each rule keeps the result a tiling of
ramps, so that index arithmetic never needs to run and never needs to be stored.
Refuses: anything that is not known integer by integer. Source: the ONNX operator specifications, opset 11 on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnx_ir as ir

from s2deploy.rewrite.bounds import Bounds
from s2deploy.rewrite.constants import Array, array_of, scalar_of
from s2deploy.rewrite.contents import Content, Ramp, Read, Scalar, Shape
from s2deploy.rewrite.coordinates import Coord, floor_divide
from s2deploy.rewrite.facts import Interpretation, Rule
from s2deploy.rewrite.merged import Merged, Table, simplest
from s2deploy.rewrite.refusals import NotMovementError
from s2deploy.rewrite.regions import Tiling, concat
from s2deploy.rewrite.rules_elementwise import constant_parts, require_ramp, scaled
from s2deploy.rewrite.rules_merged import table
from s2deploy.rewrite.rules_movement import int_attribute
from s2deploy.rewrite.tree import Cut, Node

_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
_INTEGRAL = frozenset(
    {ir.DataType.BOOL} | {ir.DataType[f"{sign}INT{bits}"] for sign in ("", "U") for bits in (8, 16, 32, 64)}
)
_NO_INTEGERS = "a range that is not of integers"


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
    """``Range(start, limit, delta)`` of integers; of another type, its length where that is known."""
    if not facts.is_integer(node.inputs[0]):
        count, _, _ = _counted(facts, *(_whole_number(facts, value) for value in node.inputs))
        facts.state_shape(node.outputs[0], (count,))
        raise NotMovementError(_NO_INTEGERS)
    (start,), (limit,), (delta,) = (facts.integers(value) for value in node.inputs)
    count, start, delta = _counted(facts, start, limit, delta)
    return [Tiling.of(Ramp(start, (delta,)), (count,))]


def _counted(facts: Interpretation, start: Coord, limit: Coord, delta: Coord) -> tuple[Coord, Coord, int]:
    """Returns how many numbers a range has, its start and its step."""
    if not isinstance(delta, int) or delta == 0:
        raise NotMovementError("the step of a range is computed at run time")
    length = limit - start if delta > 0 else start - limit
    if not facts.bounds.require_at_most(0, length):
        length = 0
    count = length if abs(delta) == 1 else floor_divide(length + abs(delta) - 1, abs(delta))
    return count, start, delta


def _whole_number(facts: Interpretation, value: ir.Value | None) -> Coord:
    """Returns a float that is a constant whole number, or a size as float: float32 holds all up to 2^24 exactly."""
    if value is None or value.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
        raise NotMovementError(_NO_INTEGERS)
    node = value.producer()
    if node is not None and node.op_type == "Cast" and node.domain == "" and facts.is_integer(node.inputs[0]):
        numbers = facts.integers(node.inputs[0])
        if len(numbers) != 1:
            raise NotMovementError(_NO_INTEGERS)
        return numbers[0]
    content = facts.tiling(value).root
    if isinstance(content, (Cut, Read)) or not _is_known_constant(content):
        raise NotMovementError(_NO_INTEGERS)
    element = float(array_of(content, value.dtype))
    if not element.is_integer():
        raise NotMovementError(_NO_INTEGERS)
    return int(element)


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


def cast(facts: Interpretation, node: ir.Node) -> Sequence[Table]:
    """``Cast(x, to)`` of known integers, booleans and constants."""
    return [_cast(facts, node, ir.DataType(node.attributes["to"].as_int()))]


def cast_like(facts: Interpretation, node: ir.Node) -> Sequence[Table]:
    """``CastLike(x, target)`` of known integers, booleans and constants."""
    like = node.inputs[1]
    if like is None or like.dtype is None:
        raise NotMovementError("the type to cast to is not known")
    return [_cast(facts, node, like.dtype)]


def _cast(facts: Interpretation, node: ir.Node, to: ir.DataType) -> Table:
    value = node.inputs[0]
    data = table(facts, value)
    if value is not None and value.dtype == to:
        return data
    if to == ir.DataType.BOOL and facts.is_integer(value):
        return data.map(lambda content, _: _truth(facts.bounds, content))
    if to in (ir.DataType.INT64, ir.DataType.INT32) and facts.is_integer(value):
        return data.map(require_ramp if to == ir.DataType.INT64 else _require_narrow)
    content = data.root if isinstance(data, Tiling) else data.tiling.root
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
    ramp = require_ramp(content, box)
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


def negate(facts: Interpretation, node: ir.Node) -> Sequence[Table]:
    """``Neg(x)`` of integers."""
    return [table(facts, node.inputs[0]).map(lambda content, box: scaled(require_ramp(content, box), -1))]


def not_(facts: Interpretation, node: ir.Node) -> Sequence[Table]:
    """``Not(x)``: of 0 and 1, what is left to 1."""
    data = table(facts, node.inputs[0])
    return [data.map(lambda content, box: _left_to_one(require_ramp(content, box)))]


def _left_to_one(flags: Ramp) -> Ramp:
    return Ramp(1 - flags.base, tuple(-step for step in flags.steps))


def reduce_to_one(combine: Callable[[Bounds, Coord, Coord], Coord]) -> Rule:
    """Returns the rule of a reduction of a vector of sizes to one number."""

    def rule(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
        if not facts.is_integer(node.inputs[0]) or len(facts.shape(node.inputs[0])) != 1:
            raise NotMovementError("a reduction over more than a vector of sizes")
        axes = len(node.inputs) > 1 and node.inputs[1] is not None
        if int_attribute(node, "noop_with_empty_axes", 0) == 1 and not axes:
            return [facts.tiling(node.inputs[0])]
        numbers = facts.integers(node.inputs[0])
        if not numbers:
            raise NotMovementError("a reduction of nothing")
        total = numbers[0]
        for number in numbers[1:]:
            total = combine(facts.bounds, total, number)
        kept = int_attribute(node, "keepdims", 1) == 1
        return [_vector([total]) if kept else Tiling.of(Ramp(total, ()), ())]

    return rule


def non_zero(facts: Interpretation, node: ir.Node) -> Sequence[Table]:
    """``NonZero(x)`` where runs along the axes mark what is not zero: their positions, one axis a row."""
    data = facts.tiling(node.inputs[0])
    marked: list[tuple[Shape, Shape]] = []
    for origin, box, content in data.boxes():
        for place, part, number in constant_parts(origin, box, require_ramp(content, box)):
            if _truth(facts.bounds, Ramp(number, ())).base == 1:
                marked.append((place, part))
    if not marked:
        return [Tiling.of(Ramp(0, (0, 0)), (data.rank, 0))]
    runs = [list(dict.fromkeys((origin[t], box[t]) for origin, box in marked)) for t in range(data.rank)]
    if not runs or set(marked) != {(tuple(a for a, _ in p), tuple(b for _, b in p)) for p in itertools.product(*runs)}:
        raise NotMovementError("what is not zero does not follow the axes")
    lengths = [_total(size for _, size in axis) for axis in runs]
    rows: list[Tiling] = []
    for t, axis in enumerate(runs):
        steps = tuple(int(other == t) for other in range(-1, data.rank))
        sizes = [(1, *lengths[:t], size, *lengths[t + 1 :]) for _, size in axis]
        parts = [Tiling.of(Ramp(start, steps), size) for (start, _), size in zip(axis, sizes, strict=True)]
        rows.append(concat(t + 1, parts))
    return [simplest(Merged(concat(0, rows), (1, data.rank)))]


def _total(sizes: Iterable[Coord]) -> Coord:
    total: Coord = 0
    for size in sizes:
        total = total + size
    return total


def _vector(sizes: Sequence[Coord]) -> Tiling:
    if not sizes:
        return Tiling.of(Ramp(0, (0,)), (0,))
    return concat(0, [Tiling.of(Ramp(size, (0,)), (1,)) for size in sizes])


def _boolean(verdict: bool, like: Ramp) -> Ramp:
    return Ramp(int(verdict), (0,) * len(like.steps))


def _truth(bounds: Bounds, content: Content) -> Ramp:
    """Returns a ramp of known numbers as 0 and 1."""
    if isinstance(content, Scalar) or not isinstance(content, Ramp) or not content.is_constant:
        raise NotMovementError("a condition on values that are computed at run time")
    zero = bounds.equal(content.base, 0)
    if zero is None:
        raise NotMovementError(f"whether {content.base} is zero is not known")
    return _boolean(not zero, content)
