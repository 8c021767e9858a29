"""Weighted sums of shifted branches as one node, and the sums over all positions that their weights come from.

Before: a stack of branches that are groups of channels of one tensor, each group read at an offset, and of that stack
``ReduceSum(weights * stack, branches)`` and ``ReduceSum(stack, (branches, height, width))``, with views in between.
After: ``s2deploy::ShiftSum(x, w)`` and ``s2deploy::ShiftSumPool(x)`` of the tensor itself; neither the shifted maps nor
the stack exist.
Requires: opset 13, float32, float16 or bfloat16; branches that are consecutive parts of the channels, in order, with
the nearest position at the border; weights for each sample and branch, the same for all positions.
Refuses, with the reason: anything else, and a stack that something else reads, which would be made all the same.
Preserves: shape, dtype, names. Sums are taken in another order: they differ by rounding.
Source: ``ops.shift_sum`` and ``ops.shift_sum_pool``; split attention in Yu et al., "S2-MLPv2", arXiv 2108.01072.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from s2deploy.errors import RewriteError
from s2deploy.ops import SHIFT_SUM, SHIFT_SUM_POOL, Border, Configuration
from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.coordinates import Interval, UndecidedError
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.movement import Rewrite
from s2deploy.rewrite.outputs import substitute
from s2deploy.rewrite.plugin_functions import OLDEST_OPSET, operator_node
from s2deploy.rewrite.plugin_shifts import find_shift
from s2deploy.rewrite.plugin_writing import Writer, reshape_target
from s2deploy.rewrite.reductions_nodes import Reduction, reduction_of
from s2deploy.rewrite.refusals import Refusal
from s2deploy.rewrite.regions import Tiling, concat
from s2deploy.rewrite.rules import RULES
from s2deploy.rewrite.shift_matching import NotAShiftError
from s2deploy.rewrite.views import reduced_axes, seen_from, without

_VIEWS = frozenset({"Reshape", "Unsqueeze", "Squeeze", "Flatten"})


@dataclass(frozen=True)
class _Stack:
    """Branches joined along an axis of their own.

    Attributes:
        value: The stack, of rank 5.
        shape: Its shape.
        source: The tensor whose channels the branches are.
        configuration: The shifts of that tensor, with the number of branches.
        branches: The axis of the branches.
        order: Which of the other axes, counted without that of the branches, each axis of the source is.
    """

    value: ir.Value
    shape: Shape
    source: ir.Value
    configuration: Configuration
    branches: int
    order: tuple[int, ...]

    @property
    def straight(self) -> Shape:
        """The shape of one branch."""
        return without(self.shape, [self.branches])

    @property
    def roles(self) -> tuple[int, int, int]:
        """The axes of the stack that are samples, branches and channels."""
        kept = [axis for axis in range(5) if axis != self.branches]
        return kept[self.order[0]], self.branches, kept[self.order[3 if self.configuration.channels_last else 1]]

    @property
    def channels(self) -> int:
        """The number of channels of a branch."""
        size = self.shape[self.roles[2]]
        assert isinstance(size, int)
        return size


@dataclass(frozen=True)
class _Match:
    """A reduction of a stack.

    Attributes:
        reduction: The reduction; its result is replaced.
        stack: The stack.
        weights: What the branches are multiplied by, a view of samples, branches and channels; None for the sum over
            positions.
        reader: The node that reads the stack, or the view of it.
    """

    reduction: Reduction
    stack: _Stack
    weights: ir.Value | None
    reader: ir.Node


def fuse_sums(
    model: ir.Model, ranges: Mapping[str, Interval], allow: Callable[[str], bool] = lambda name: True
) -> tuple[list[Rewrite], list[Refusal]]:
    """Replaces reductions of shifted branches in place; what nothing reads any more is left for a clean-up.

    Args:
        model: The model, its graph in topological order.
        ranges: Smallest and largest size of named dimensions.
        allow: Asked with the name of a reduction's output right before all reductions of its stack are replaced.
    """
    graph = model.graph
    if graph.opset_imports.get("", 0) < OLDEST_OPSET:
        return [], []
    facts = Interpretation(graph, ranges, RULES)
    matches: dict[ir.Value, list[_Match]] = {}
    refusals: list[Refusal] = []
    seen: set[ir.Node] = set()
    for node in graph:
        if node.op_type != "ReduceSum" or node.domain != "" or node in seen:
            continue
        reduction = reduction_of(node, facts)
        if reduction is None:
            continue
        seen |= set(reduction.chain)
        try:
            match = _match(facts, reduction)
        except NotAShiftError as refusal:
            refusals.append(Refusal.of(node, f"no ShiftSum: {refusal}"))
        else:
            if match is not None:
                matches.setdefault(match.stack.value, []).append(match)
    done: list[Rewrite] = []
    for stack, family in matches.items():
        others = _other_readers(stack, {match.reader for match in family})
        if others:
            node = family[0].reduction.node
            reason = (
                f"no ShiftSum: {others[0].op_type} {others[0].name} reads the stack, which would be made all the same"
            )
            refusals.append(Refusal.of(node, reason))
        elif allow(family[0].reduction.output.name or ""):
            done += [_replace(model, facts, match) for match in family]
    return done, refusals


def _match(facts: Interpretation, reduction: Reduction) -> _Match | None:
    """Returns what a reduction is of a stack of branches, None where it has nothing to do with one.

    Raises:
        NotAShiftError: It is one of a stack, but none that an operator computes.
    """
    producer = reduction.data.producer()
    pooled = _stack_behind(facts, reduction.data)
    if pooled is not None:
        axes = reduced_axes(facts.shape(pooled), facts.shape(reduction.data), reduction.axes)
        if axes is None or len(axes) != 3:
            return None
        return _pool(facts, reduction, pooled, axes)
    if producer is None or producer.op_type != "Mul" or producer.domain != "" or producer.graph is not facts.graph:
        return None
    for data, weights in (producer.inputs, tuple(reversed(producer.inputs))):
        if data is None or weights is None:
            continue
        stacked = _stack_behind(facts, data)
        if stacked is None or facts.known_shape(data) != facts.known_shape(reduction.data):
            continue
        axes = reduced_axes(facts.shape(stacked), facts.shape(data), reduction.axes)
        if axes is None or len(axes) != 1:
            continue
        if len({use.node for use in producer.outputs[0].uses()}) != 1 or producer.outputs[0].is_graph_output():
            raise NotAShiftError("something else reads the weighted branches")
        stack = _stack(facts, stacked, axes[0])
        _check_view(stack.straight, facts.shape(reduction.output))
        return _Match(reduction, stack, _weights(facts, stack, data, weights), producer)
    return None


def _pool(facts: Interpretation, reduction: Reduction, stacked: ir.Value, axes: Sequence[int]) -> _Match | None:
    """Returns the sum over branches and positions that a reduction is; one of its axes is that of the branches."""
    reasons = []
    for axis in axes:
        try:
            stack = _stack(facts, stacked, axis)
        except NotAShiftError as refusal:
            reasons.append(refusal)
            continue
        samples, _, channels = stack.roles
        if {samples, channels} & set(axes) or samples > channels:
            raise NotAShiftError("the sum is over samples or channels as well")
        _check_view((stack.shape[samples], stack.channels), facts.shape(reduction.output))
        return _Match(reduction, stack, None, reduction.node)
    raise reasons[0]


def _stack_behind(facts: Interpretation, value: ir.Value) -> ir.Value | None:
    """Returns the tensor of rank 5 that a value is a view of, which movement makes."""
    current: ir.Value | None = value
    while current is not None:
        tensor = facts.understood(current)
        node = current.producer()
        if isinstance(tensor, Tiling) and tensor.rank == 5 and node is not None and not facts.is_arithmetic(current):
            return current if sum(1 for _ in tensor.boxes()) > 1 else None
        if node is None or node.op_type not in _VIEWS or node.domain != "" or node.graph is not facts.graph:
            return None
        current = node.inputs[0]
    return None


def _stack(facts: Interpretation, value: ir.Value, axis: int) -> _Stack:
    """Returns the branches that are stacked along an axis.

    Raises:
        NotAShiftError: They are not consecutive parts of the channels of one tensor, each shifted.
    """
    tensor = facts.understood(value)
    assert isinstance(tensor, Tiling)
    count = tensor.shape[axis]
    if not isinstance(count, int) or not 2 <= count <= 16:
        raise NotAShiftError(f"{count} branches are not 2 to 16")
    refusal: Exception | None = None
    for channels in (3, 1, 2):  # last, behind the samples, or between the axes of positions
        try:
            parts = [tensor.slice(facts.bounds, axis, k, 1).drop_axes([axis]) for k in range(count)]
            found, order = find_shift(facts, concat(channels, parts), value)
            configuration = replace(found.configuration, branches=count)
        except (NotAShiftError, UndecidedError, RewriteError) as error:
            refusal = refusal or error
            continue
        if order[3 if configuration.channels_last else 1] != channels:
            continue
        if configuration.border is not Border.REPLICATE:
            raise NotAShiftError("positions outside are not the nearest ones inside")
        return _Stack(value, tensor.shape, found.source, configuration, axis, order)
    raise NotAShiftError(str(refusal))


def _weights(facts: Interpretation, stack: _Stack, data: ir.Value, weights: ir.Value) -> ir.Value:
    """Returns the weights, of which every view is the shape ``samples x branches x channels`` in some order.

    Raises:
        NotAShiftError: They are others than one for each sample, branch and channel.
    """
    seen = seen_from(stack.shape, facts.shape(data), facts.shape(weights))
    if seen is None or weights.dtype != stack.source.dtype:
        raise NotAShiftError("its weights fit no branches")
    shape = (*((1,) * (5 - len(seen))), *seen)
    expected = tuple(size if axis in stack.roles else 1 for axis, size in enumerate(stack.shape))
    if shape != expected:
        raise NotAShiftError("its weights are not one for each sample, branch and channel")
    current = weights
    while True:
        if facts.known_shape(current) == tuple(stack.shape[axis] for axis in sorted(stack.roles)):
            return current
        node = current.producer()
        if node is None or node.op_type not in _VIEWS or node.domain != "" or node.inputs[0] is None:
            break
        current = node.inputs[0]
    _check_view(facts.shape(weights), tuple(stack.shape[axis] for axis in sorted(stack.roles)))
    return weights


def _check_view(shape: Shape, target: Shape) -> None:
    if shape != target and reshape_target(shape, target) is None:
        raise NotAShiftError(f"its result has a shape that depends on several sizes: {', '.join(map(str, target))}")


def _other_readers(value: ir.Value, known: set[ir.Node]) -> list[ir.Node]:
    """Returns the nodes that read a stack or a view of it and are not among those that are replaced."""
    found = []
    waiting = [value]
    while waiting:
        current = waiting.pop()
        for use in current.uses():
            if use.node in known or use.node.op_type == "Shape":
                continue
            if use.node.op_type in _VIEWS and not use.node.outputs[0].is_graph_output():
                waiting.append(use.node.outputs[0])
            else:
                found.append(use.node)
    return found


def _replace(model: ir.Model, facts: Interpretation, match: _Match) -> Rewrite:
    stack, output, last = match.stack, match.reduction.output, match.reduction.chain[-1]
    dtype = stack.source.dtype
    assert dtype is not None
    writer = Writer(model.graph, last)
    if match.weights is None:
        node = operator_node(model, SHIFT_SUM_POOL, stack.configuration, stack.channels, [stack.source])
        shape: Shape = (stack.shape[stack.roles[0]], stack.channels)
        result = writer.place(node, ir.DataType.FLOAT, shape)
        if dtype != ir.DataType.FLOAT:
            result = writer.place(ir.node("Cast", [result], {"to": int(dtype)}), dtype, shape)
    else:
        flat = sorted(stack.roles)
        three = tuple(stack.shape[axis] for axis in flat)
        weights = writer.viewed(match.weights, dtype, facts.shape(match.weights), three)
        weights = writer.transposed(weights, dtype, three, [flat.index(axis) for axis in stack.roles])
        node = operator_node(model, SHIFT_SUM, stack.configuration, stack.channels, [stack.source, weights])
        shape = tuple(stack.straight[axis] for axis in stack.order)
        result = writer.place(node, dtype, shape)
        result = writer.transposed(result, dtype, shape, [stack.order.index(axis) for axis in range(4)])
        shape = stack.straight
    result = writer.viewed(result, dtype, shape, facts.shape(output))
    before = Counter(one.op_type for one in dict.fromkeys((match.reader, *match.reduction.chain)))
    source = last.metadata_props.get("s2deploy.source")
    substitute(model.graph, output, result, last)
    return Rewrite(output.name or "", dict(before), writer.added, source)
