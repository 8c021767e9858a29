"""Sums over all positions of a linear map, moved in between, from sums of what is mapped.

Before: ``ReduceSum(shift(Conv(x, W, b)))`` over all positions, or an Add of several such, where the Conv or MatMul maps
every position alike and what follows moves positions and picks channels (Pad, Slice, Concat, Split, Add).
After: ``Gemm(sums of x, W', n b)``. How often every position of x is counted follows from the movement: a shift with
a replicated border counts one border twice and leaves the other out. Each way of counting is a column of a matrix that
x is multiplied by; where positions have no known number, it is a sum of all and of strips along the borders.
Requires: constant W and b, float32 or float64, all axes but the batch and the channels summed, and some movement.
Refuses, with the reason, other operators between the map and the sum, and means of unknown numbers of positions. Leaves
sums as they are where W' would take longer to read than the result of the map, or make the file noticeably larger: it
has at most an eighth as many elements as the result has for one sample.
Preserves shape, dtype and names; sums in another order round differently. An infinite x makes every sum of its channels
NaN, those that leave its position out as well: they count it times 0.
Source: ``sum_p (W x_p + b) = W (sum_p x_p) + n b``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from s2deploy.rewrite.channel_permutation import is_kept
from s2deploy.rewrite.channel_segments import Applied, Expression, Leaf, Reader, Segments
from s2deploy.rewrite.constants import Array
from s2deploy.rewrite.coordinates import Interval, UndecidedError
from s2deploy.rewrite.expressions import at
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.layout_linear import Linear, linear_of
from s2deploy.rewrite.layout_nodes import is_constant
from s2deploy.rewrite.layout_writing import Writer
from s2deploy.rewrite.movement import Rewrite
from s2deploy.rewrite.outputs import substitute
from s2deploy.rewrite.pooled_counts import Dense, Strips, counted, positions_before, strips_before
from s2deploy.rewrite.pooled_writing import Pooling, PoolingWriter, number_of_positions
from s2deploy.rewrite.reductions_nodes import reduced_by
from s2deploy.rewrite.refusals import NotMovementError, Refusal
from s2deploy.rewrite.rules import RULES
from s2deploy.rewrite.runtime_costs import WORSE, RuntimeCosts

_OLDEST_OPSET = 13
_SUMS = frozenset({"ReduceMean", "ReduceSum"})
_ADDS = frozenset({"Add", "Sum"})
_MOVING = frozenset({"Concat", "Pad", "Slice"})
_LEAST_RANK = 3
_TYPES = frozenset({ir.DataType.DOUBLE, ir.DataType.FLOAT})
_WEIGHTS_SHARE = 8
_COLUMNS_AT_ONCE = 16
"""A matrix product takes as long for fewer columns."""


@dataclass(frozen=True)
class _Root:
    """A sum of reductions.

    Attributes:
        output: What it gives.
        nodes: The nodes that it takes, in order, the reductions among them.
        reductions: The reductions.
    """

    output: ir.Value
    nodes: tuple[ir.Node, ...]
    reductions: tuple[ir.Node, ...]


def pool_first(
    graph: ir.Graph,
    ranges: Mapping[str, Interval],
    sizes: Mapping[str, int],
    costs: Sequence[RuntimeCosts],
    allow: Callable[[str], bool] = lambda name: True,
) -> tuple[list[Rewrite], list[Refusal]]:
    """Rewrites sums over positions in place; nodes that nothing reads any more are left for a clean-up.

    Args:
        graph: The graph, in topological order.
        ranges: Smallest and largest size of named dimensions.
        sizes: Typical size of named dimensions, for the cost.
        costs: What the runtime is judged by; see `COSTS`.
        allow: Asked with a tensor's name right before it is replaced.
    """
    done: list[Rewrite] = []
    refusals: list[Refusal] = []
    if graph.opset_imports.get("", _OLDEST_OPSET) < _OLDEST_OPSET or not any(n.op_type in _SUMS for n in graph):
        return done, refusals
    facts = Interpretation(graph, ranges, RULES)
    maps = {found.output: found for node in graph if (found := linear_of(facts, node)) is not None}
    writer = Writer(facts)
    for root in _roots(facts) if maps else ():
        name, last = root.output.name or "", root.nodes[-1]
        try:
            pooling = _pooling(facts, root, maps)
        except (NotMovementError, UndecidedError) as reason:
            refusals.append(Refusal.of(last, f"summed where it is: {reason}"))
            continue
        if pooling is None or not _pays(facts, root, pooling, sizes, costs) or not allow(name):
            continue
        there = len(writer.written)
        new = PoolingWriter(writer, pooling, root.output, last).write()
        before = Counter(node.op_type for node in root.nodes)
        after = Counter(node.op_type for node in writer.written[there:])
        done.append(Rewrite(name, before, after, last.metadata_props.get("s2deploy.source")))
        substitute(graph, root.output, new, last)
    return done, refusals


def _roots(facts: Interpretation) -> list[_Root]:
    """Returns the sums of reductions over all positions that no other such sum is a part of."""
    found: dict[ir.Value, _Root] = {}
    for node in facts.graph:
        if node.domain != "" or len(node.outputs) != 1 or node.outputs[0].dtype not in _TYPES:
            continue
        output = node.outputs[0]
        if node.op_type in _SUMS and _channels_left(facts, node) is not None:
            found[output] = _Root(output, (node,), (node,))
        elif node.op_type in _ADDS and all(
            value in found and len(value.uses()) == 1 and not value.is_graph_output() for value in node.inputs
        ):
            parts = [found.pop(value) for value in node.inputs if value is not None]
            if len({_signature(facts, reduction) for part in parts for reduction in part.reductions}) != 1:
                continue
            nodes = tuple(inner for part in parts for inner in part.nodes)
            found[output] = _Root(output, (*nodes, node), tuple(r for part in parts for r in part.reductions))
    return list(found.values())


def _signature(facts: Interpretation, node: ir.Node) -> tuple[object, ...]:
    return reduced_by(node, facts), facts.shape(node.outputs[0])


def _channels_left(facts: Interpretation, node: ir.Node) -> int | None:
    """Returns the axis of the channels where a reduction leaves the batch and them, None where it does not."""
    axes, data = reduced_by(node, facts), node.inputs[0]
    if not axes or data is None or facts.known_shape(node.outputs[0]) is None:
        return None
    shape = facts.shape(data)
    left = [axis for axis in range(len(shape)) if axis not in axes]
    is_whole = len(left) == 2 and left[0] == 0 and isinstance(shape[left[1]], int)
    return left[1] if is_whole and left[1] in (1, len(shape) - 1) else None


def _pooling(facts: Interpretation, root: _Root, maps: Mapping[ir.Value, Linear]) -> Pooling | None:
    """Returns a sum of reductions as a map of sums of what is mapped; None where nothing is mapped, or moved.

    Raises:
        NotMovementError: Something else is in between.
        UndecidedError: A size is not known.
    """
    reader = Reader(facts, is_shared=True)
    read = []
    for reduction in root.reductions:
        axis, data = _channels_left(facts, reduction), reduction.inputs[0]
        assert axis is not None
        assert data is not None
        read.append((reduction, axis, reader.segments(data, axis)))
    expressions = [expression for _, _, segments in read for _, expression in segments]
    if not any(map(_moves, expressions)) or not any(_mapped(facts, leaf, maps) for leaf in _leaves(expressions)):
        return None
    pooling: Pooling | None = None
    for reduction, axis, segments in read:
        start, scale = 0, _scale(facts, reduction, axis)
        for size, expression in segments:
            for leaf, count in _counts(facts, reduction, axis, expression):
                bias = _constant_channels(leaf)
                if bias is None:
                    linear = _mapped(facts, leaf, maps)
                    if linear is None:
                        raise NotMovementError(f"{leaf.value.name} is not the result of a constant linear map")
                    pooling = pooling or _pooling_of(facts, linear, segments)
                    _add(pooling, linear, leaf, count, start, scale)
                elif isinstance(count, np.ndarray) and pooling is not None:
                    pooling.bias[start : start + size] += bias * count.sum() * scale
                else:
                    raise NotMovementError("a bias that is added after the map")
            start += size
    return pooling


def _add(pooling: Pooling, linear: Linear, leaf: Leaf, count: Dense | Strips, start: int, scale: float) -> None:
    """Adds sums of some channels of a map's result to those of the result from `start` on."""
    if (linear.data, linear.axis) != (pooling.data, pooling.axis):
        raise NotMovementError("linear maps of two tensors")
    rows, columns = slice(leaf.start, leaf.start + leaf.size), slice(start, start + leaf.size)
    tensor = linear.matrix.const_value
    assert tensor is not None
    matrix = tensor.numpy().astype(np.float64)
    matrix = matrix.reshape(matrix.shape[:2])
    weights = (matrix.T if linear.is_transposed else matrix)[:, rows] * scale
    bias = np.zeros(leaf.size)
    if linear.bias is not None and linear.bias.const_value is not None:
        bias = linear.bias.const_value.numpy().astype(np.float64).reshape(-1)[rows] * scale
    if isinstance(count, np.ndarray):
        pooling.add(count.reshape(-1), start, weights)
        pooling.bias[columns] += bias * count.sum()
        return
    for strip, number in count.items():
        pooling.add(strip, start, weights * number)
    pooling.bias_per_position[columns] += bias


def _pooling_of(facts: Interpretation, linear: Linear, segments: Segments) -> Pooling:
    rank = len(facts.shape(linear.data))
    if rank < _LEAST_RANK or linear.axis not in (1, rank - 1):
        raise NotMovementError("channels that lie between positions")
    return Pooling(linear.data, linear.axis, linear.channels[0], sum(size for size, _ in segments))


def _counts(
    facts: Interpretation, reduction: ir.Node, axis: int, expression: Expression
) -> Iterator[tuple[Leaf, Dense | Strips]]:
    """Yields what a reduction of an expression is computed from, with how often every position is counted."""
    shape = facts.shape(reduction.inputs[0])
    axes = [index for index in range(1, len(shape)) if index != axis]
    known = [size for index in axes if isinstance(size := shape[index], int)]
    if len(known) == len(axes):
        yield from counted(facts, expression, axes, np.ones(known, np.int64), positions_before)
    else:
        strips: Strips = {(0,) * len(axes): 1}
        yield from counted(facts, expression, axes, strips, strips_before)


def _scale(facts: Interpretation, reduction: ir.Node, axis: int) -> float:
    if reduction.op_type == "ReduceSum":
        return 1.0
    number = number_of_positions(facts.shape(reduction.inputs[0]), axis)
    if number is None:
        raise NotMovementError("the mean is one over an unknown number of positions")
    return 1.0 / max(number, 1)


def _mapped(facts: Interpretation, leaf: Leaf, maps: Mapping[ir.Value, Linear]) -> Linear | None:
    """Returns the map whose result some channels are of, Reshapes of its positions seen through."""
    linear, node = maps.get(leaf.value), leaf.value.producer()
    if linear is not None:
        return linear if linear.axis == leaf.axis else None
    source = node.inputs[0] if node is not None and node.op_type == "Reshape" else None
    linear = None if source is None else maps.get(source)
    if linear is None:
        return None
    before, shape = facts.shape(source), facts.shape(leaf.value)
    is_same = before[:1] == shape[:1] and is_kept(before, linear.axis, shape, leaf.axis)
    return linear if is_same and all(isinstance(size, int) for size in shape[1:]) else None


def _constant_channels(leaf: Leaf) -> Array | None:
    """Returns the channels of a constant that is the same at every position, None for anything else."""
    tensor = leaf.value.const_value
    if tensor is None or not is_constant(leaf.value) or tensor.size != int(str(tensor.shape[leaf.axis])):
        return None
    return tensor.numpy().astype(np.float64).reshape(-1)[leaf.start : leaf.start + leaf.size]


def _leaves(expressions: Sequence[Expression]) -> Iterator[Leaf]:
    for expression in expressions:
        if isinstance(expression, Leaf):
            yield expression
        elif isinstance(expression, Applied):
            yield from _leaves(expression.arguments)


def _moves(expression: Expression) -> bool:
    return isinstance(expression, Applied) and (
        expression.node.op_type in _MOVING or any(map(_moves, expression.arguments))
    )


def _pays(
    facts: Interpretation, root: _Root, pooling: Pooling, sizes: Mapping[str, int], costs: Sequence[RuntimeCosts]
) -> bool:
    """Whether sums of what is mapped cost less than those of what it is mapped to, and nowhere much more."""
    shape = _sizes(facts, pooling.data, sizes)
    elements, weights = math.prod(shape), sum(weight.size for weight in pooling.weights)
    positions = math.prod(shape) // max(shape[0] * pooling.inputs, 1)
    is_first = pooling.axis == 1
    summed = sum(math.prod(_sizes(facts, reduction.inputs[0], sizes)[1:]) for reduction in root.reductions)
    if weights * _WEIGHTS_SHARE > summed:
        return False
    ratios = []
    for own in costs:
        before = 0.0
        for reduction in root.reductions:
            before += own.reduction(math.prod(_sizes(facts, reduction.inputs[0], sizes)), within=is_first)
        after = own.node_ns + weights * own.summed_within_ns
        if isinstance(pooling.kinds[0], np.ndarray):
            kinds = max(len(pooling.kinds), _COLUMNS_AT_ONCE)
            form = "MatMul" if is_first else "left MatMul"
            after += own.linear(form, shape[0] * pooling.inputs, positions, kinds, bias=False) + 2 * own.view_ns
        else:
            after += own.reduction(elements, within=is_first) + pooling.small_nodes * own.small_ns
        ratios.append(after / before)
    return ratios[0] < 1 and all(ratio <= WORSE for ratio in ratios)


def _sizes(facts: Interpretation, value: ir.Value | None, sizes: Mapping[str, int]) -> list[int]:
    return [at(size, sizes) for size in facts.shape(value)]
