"""A linear map whose result is read in pieces of its channels, as one map for each piece.

Before: ``Slice(Conv(x, W))`` and ``Pad(Conv(x, W))``, each of some channels.
After: ``Conv(x, W1)`` and ``Pad(Conv(x, W2))``; channels that nothing reads are not computed.
A copy is saved where a piece is read as it is. Where the whole result is too large for the nearest caches, what is
computed right before it is read is still there.
Requires: constant weights, pieces that are known and do not overlap. Refuses where something reads all channels.
Preserves shape, dtype and names; sums may round differently in a smaller product.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from s2deploy.rewrite.channel_segments import pads_of, slices_of
from s2deploy.rewrite.coordinates import Interval
from s2deploy.rewrite.expressions import elements
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.initializers import add_initializer
from s2deploy.rewrite.layout_linear import Linear, linear_of, write_linear
from s2deploy.rewrite.layout_writing import Writer, annotate
from s2deploy.rewrite.movement import Rewrite
from s2deploy.rewrite.outputs import substitute
from s2deploy.rewrite.rules import RULES
from s2deploy.rewrite.rules_movement import int_attribute
from s2deploy.rewrite.runtime_costs import RuntimeCosts

_OLDEST_OPSET = 13
_CROPPING = frozenset({"Pad", "Slice", "Split"})


@dataclass(frozen=True)
class _Piece:
    """Channels that a node reads.

    Attributes:
        node: The node.
        output: What it makes of them.
        start: The first channel.
        end: The one behind the last.
        is_copy: Whether it does nothing else to them.
    """

    node: ir.Node
    output: ir.Value
    start: int
    end: int
    is_copy: bool


@dataclass
class _Part:
    """Channels that one map gives, and what reads them."""

    start: int
    end: int
    pieces: list[_Piece]

    @property
    def is_copy(self) -> bool:
        """Whether all that reads the channels reads them as they are."""
        return all(piece.is_copy and (piece.start, piece.end) == (self.start, self.end) for piece in self.pieces)


def split_maps(
    graph: ir.Graph,
    ranges: Mapping[str, Interval],
    sizes: Mapping[str, int],
    costs: Sequence[RuntimeCosts],
    allow: Callable[[str], bool] = lambda name: True,
) -> list[Rewrite]:
    """Splits linear maps in place; nodes that nothing reads any more are left for a clean-up.

    Args:
        graph: The graph, in topological order.
        ranges: Smallest and largest size of named dimensions.
        sizes: Typical size of named dimensions, for the cost.
        costs: What the runtime is judged by; see `COSTS`.
        allow: Asked with the name of a map's result right before it is replaced.
    """
    done: list[Rewrite] = []
    if graph.opset_imports.get("", _OLDEST_OPSET) < _OLDEST_OPSET:
        return done
    candidates = [node for node in graph if node.op_type in ("Conv", "MatMul") and _may_be_cropped(node)]
    if not candidates:
        return done
    facts = Interpretation(graph, ranges, RULES)
    for node in candidates:
        linear = linear_of(facts, node)
        pieces = None if linear is None else _pieces(facts, linear)
        if linear is None or not pieces:
            continue
        parts = _chosen(facts, linear, _apart(pieces), sizes, costs)
        if parts is None or not allow(linear.output.name or ""):
            continue
        before = Counter(one.op_type for one in dict.fromkeys([linear.node, *(piece.node for piece in pieces)]))
        writer = Writer(facts)
        for part in parts:
            _write(writer, linear, part)
        after = Counter(one.op_type for one in writer.written)
        source = node.metadata_props.get("s2deploy.source")
        done.append(Rewrite(linear.output.name or "", dict(before), dict(after), source))
    return done


def _may_be_cropped(node: ir.Node) -> bool:
    """Whether a Slice, Split or Pad reads a map's result, an addition of a bias seen through."""
    users = [use.node for use in node.outputs[0].uses()]
    if len(users) == 1 and users[0].op_type == "Add":
        users = [use.node for use in users[0].outputs[0].uses()]
    return bool(users) and all(user.op_type in _CROPPING and user.domain == "" for user in users)


def _pieces(facts: Interpretation, linear: Linear) -> list[_Piece] | None:
    """Returns what reads a map's result, None where something does not read known channels of it."""
    value, axis, total = linear.output, linear.axis, linear.channels[1]
    rank = len(facts.shape(value))
    found: list[_Piece] = []
    if value.is_graph_output():
        return None
    for use in value.uses():
        node = use.node
        if use.idx != 0 or node.graph is not facts.graph:
            return None
        if node.op_type == "Pad":
            pads = pads_of(node)
            if pads is None or len(pads) != 2 * rank or pads[axis] > 0 or pads[rank + axis] > 0:
                return None
            found.append(_Piece(node, node.outputs[0], -pads[axis], total + pads[rank + axis], is_copy=False))
        elif node.op_type == "Slice":
            bounds = slices_of(node, rank)
            if bounds is None:
                return None
            start, end, step = bounds.pop(axis, (0, total, 1))
            if step != 1:
                return None
            start, end, _ = slice(start, end).indices(total)
            found.append(_Piece(node, node.outputs[0], start, max(start, end), not bounds))
        elif node.op_type == "Split":
            lengths = [facts.shape(output)[axis] for output in node.outputs]
            if int_attribute(node, "axis", 0) % rank != axis or any(not isinstance(size, int) for size in lengths):
                return None
            start = 0
            for output, size in zip(node.outputs, lengths, strict=True):
                assert isinstance(size, int)
                found.append(_Piece(node, output, start, start + size, is_copy=True))
                start += size
        else:
            return None
    return [piece for piece in found if piece.output.uses() or piece.output.is_graph_output()]


def _apart(pieces: Sequence[_Piece]) -> list[_Part]:
    """Returns the parts that no piece reaches across, in order."""
    parts: list[_Part] = []
    for piece in sorted(pieces, key=lambda one: (one.start, one.end)):
        if parts and piece.start < parts[-1].end:
            parts[-1].pieces.append(piece)
            parts[-1].end = max(parts[-1].end, piece.end)
        else:
            parts.append(_Part(piece.start, piece.end, [piece]))
    return parts


def _chosen(
    facts: Interpretation,
    linear: Linear,
    parts: list[_Part],
    sizes: Mapping[str, int],
    costs: Sequence[RuntimeCosts],
) -> list[_Part] | None:
    """Returns the parts to compute by themselves, None where all at once is best."""
    total = linear.channels[1]
    each = elements(facts.shape(linear.output), sizes) / total
    read = [part for part in parts if part.end > part.start]
    best: list[_Part] | None = None
    highest = 0.0
    for choice in (read, _joined(read)):
        gains = [_gain(own, choice, each, total) for own in costs]
        if choice and gains[0] > highest and all(gain >= 0 for gain in gains):
            best, highest = choice, gains[0]
    return best


def _joined(parts: Sequence[_Part]) -> list[_Part]:
    """Returns parts with neighbours that are moved as one, so that there are fewer maps and as few copies."""
    found: list[_Part] = []
    for part in parts:
        if found and not part.is_copy and not found[-1].is_copy:
            found[-1] = _Part(found[-1].start, part.end, [*found[-1].pieces, *part.pieces])
        else:
            found.append(part)
    return found


def _gain(own: RuntimeCosts, parts: Sequence[_Part], each: float, total: int) -> float:
    """Returns what is gained by computing parts of all channels by themselves, `each` being elements of a channel."""
    counts = [int((part.end - part.start) * each) for part in parts]
    copies = sum(
        own.movement(count, count) * len(part.pieces) for part, count in zip(parts, counts, strict=True) if part.is_copy
    )
    reread = own.reread.of(int(total * each)) - sum(map(own.reread.of, counts))
    return copies + reread - (len(parts) - 1) * own.node_ns


def _write(writer: Writer, linear: Linear, part: _Part) -> None:
    """Writes the map that gives some channels, and has what reads them read its result."""
    facts = writer.facts
    before = linear.add or linear.node
    bias = None if linear.bias is None else _channels(facts, linear.bias, None, part)
    own = replace(linear, matrix=_channels(facts, linear.matrix, 0 if linear.is_transposed else 1, part), bias=bias)
    shape = list(facts.shape(linear.output))
    shape[linear.axis] = part.end - part.start
    like = ir.Value()
    annotate(like, linear.output, tuple(shape))
    value = write_linear(writer, own, linear.form, linear.data, tuple(range(len(shape))), like)
    for piece in part.pieces:
        if piece.is_copy and (piece.start, piece.end) == (part.start, part.end):
            substitute(facts.graph, piece.output, value, before)
        else:
            substitute(facts.graph, piece.output, _cropped(writer, linear, piece, value, part), piece.node)


def _cropped(writer: Writer, linear: Linear, piece: _Piece, value: ir.Value, part: _Part) -> ir.Value:
    """Writes what a node makes of its channels, from a part that holds them."""
    rank, axis, node = len(writer.shape(linear.output)), linear.axis, piece.node
    if node.op_type == "Pad":
        pads = list(pads_of(node) or ())
        pads[axis], pads[rank + axis] = part.start - piece.start, piece.end - part.end
        bounds = [np.array(pads, np.int64)]
        rest = node.inputs[2:]
    else:
        cut = slices_of(node, rank) or {} if node.op_type == "Slice" else {}
        cut.pop(axis, None)
        if (piece.start, piece.end) != (part.start, part.end):
            cut[axis] = (piece.start - part.start, piece.end - part.start, 1)
        rows = [[cut[own][which] for own in sorted(cut)] for which in range(3)]
        bounds = [np.array(row, np.int64) for row in (rows[0], rows[1], sorted(cut), rows[2])]
        rest = []
    inputs = [value, *(writer.constant(numbers, "s2deploy_bounds") for numbers in bounds), *rest]
    attributes = {} if node.op_type == "Split" else dict(node.attributes)
    op_type = "Slice" if node.op_type == "Split" else node.op_type
    return writer.add(op_type, inputs, node, like=piece.output, attributes=attributes)


def _channels(facts: Interpretation, value: ir.Value, axis: int | None, part: _Part) -> ir.Value:
    """Returns some channels of a constant; of its only long axis where none is given."""
    tensor = value.const_value
    assert tensor is not None
    shape = [int(str(size)) for size in tensor.shape]
    along = shape.index(max(shape)) if axis is None else axis
    shape[along] = part.end - part.start

    def cut() -> ir.TensorProtocol:
        chosen = np.take(tensor.numpy(), range(part.start, part.end), along)
        return ir.Tensor(np.ascontiguousarray(chosen), dtype=tensor.dtype)

    lazy = ir.LazyTensor(cut, dtype=tensor.dtype, shape=ir.Shape(shape), name=None)
    return add_initializer(facts.graph, f"{value.name}_part", lazy)
