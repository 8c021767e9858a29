"""Writing a linear map of sums over positions as nodes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from s2deploy.rewrite.constants import Array
from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.layout_writing import Writer, product
from s2deploy.rewrite.pooled_counts import Dense, Strip

_CUTS_SHAPE = 15
_END = (1 << 63) - 1


@dataclass
class Pooling:
    """A sum over positions as a linear map of sums of one tensor.

    Attributes:
        data: The tensor.
        axis: The axis of its channels; all others but the first hold positions.
        inputs: How many channels it has.
        outputs: How many the result has.
        kinds: The sums, as how often each counts every position, or as the strip it is one of.
        weights: For each of the sums, by channel of the tensor and channel of the result.
        bias: What is added, by channel of the result.
        bias_per_position: What is added once for every position, where their number is not known.
    """

    data: ir.Value
    axis: int
    inputs: int
    outputs: int
    kinds: list[Dense | Strip] = field(default_factory=list)
    weights: list[Array] = field(default_factory=list)
    bias: Array = field(init=False)
    bias_per_position: Array = field(init=False)
    _places: dict[Hashable, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bias, self.bias_per_position = np.zeros(self.outputs), np.zeros(self.outputs)

    def add(self, kind: Dense | Strip, start: int, weights: Array) -> None:
        """Adds the weights of a sum, by channel of the tensor and channel of the result from `start` on."""
        key = kind.tobytes() if isinstance(kind, np.ndarray) else kind
        place = self._places.setdefault(key, len(self.kinds))
        if place == len(self.kinds):
            self.kinds.append(kind)
            self.weights.append(np.zeros((self.inputs, self.outputs)))
        self.weights[place][:, start : start + weights.shape[1]] += weights

    @property
    def small_nodes(self) -> int:
        """How many nodes sums over strips and a bias take beside the sum over all."""
        strips = len(self.kinds) - 1
        return 2 * strips + (strips > 0) + 4 * bool(self.bias_per_position.any())


class PoolingWriter:
    """Writes a `Pooling`.

    Args:
        writer: Writes nodes.
        pooling: What is written.
        like: The value whose type and shape the result has.
        before: The node in front of which the nodes go.
    """

    def __init__(self, writer: Writer, pooling: Pooling, like: ir.Value, before: ir.Node) -> None:
        self._writer, self._pooling, self._like, self._before = writer, pooling, like, before
        self._shape = writer.shape(pooling.data)
        self._positions = [axis for axis in range(1, len(self._shape)) if axis != pooling.axis]

    def write(self) -> ir.Value:
        """Writes the nodes and returns the result."""
        pooling, batch = self._pooling, self._shape[0]
        columns = [kind for kind in pooling.kinds if isinstance(kind, np.ndarray)]
        strips = [kind for kind in pooling.kinds if not isinstance(kind, np.ndarray)]
        sums = self._products(columns) if columns else self._strips(strips)
        by_channel = bool(columns) and pooling.axis == 1
        weights = np.stack(pooling.weights, axis=1 if by_channel else 0).reshape(-1, pooling.outputs)
        result = self._add(
            "Gemm", [sums, self._constant(weights, "pooled_weights"), self._bias()], (batch, pooling.outputs)
        )
        shape = self._writer.shape(self._like)
        if len(shape) == len((batch, pooling.outputs)):
            return result
        target = [0, *(size if isinstance(size, int) else 1 for size in shape[1:])]
        return self._add("Reshape", [result, self._writer.ints(target)], shape)

    def _products(self, kinds: list[Array]) -> ir.Value:
        """Returns all sums as one matrix product, by sample."""
        pooling, batch = self._pooling, self._shape[0]
        columns = np.stack([kind.reshape(-1) for kind in kinds], axis=1)
        number, rows = len(columns), len(kinds) * pooling.inputs
        is_first = pooling.axis == 1
        flat = (pooling.inputs, number) if is_first else (number, pooling.inputs)
        data = pooling.data
        if len(self._positions) > 1:
            data = self._add("Reshape", [data, self._writer.ints([0, *flat])], (batch, *flat))
        if is_first:
            factors = [data, self._constant(columns, "pooled_counts")]
            sums = self._add("MatMul", factors, (batch, pooling.inputs, len(kinds)))
        else:
            factors = [self._constant(columns.T, "pooled_counts"), data]
            sums = self._add("MatMul", factors, (batch, len(kinds), pooling.inputs))
        return self._add("Reshape", [sums, self._writer.ints([0, rows])], (batch, rows))

    def _strips(self, kinds: list[Strip]) -> ir.Value:
        """Returns the sums over strips side by side, by sample."""
        pooling, batch = self._pooling, self._shape[0]
        parts = [self._strip(kind) for kind in kinds]
        if len(parts) == 1:
            return parts[0]
        return self._add("Concat", parts, (batch, len(parts) * pooling.inputs), {"axis": 1})

    def _strip(self, strip: Strip) -> ir.Value:
        cut = [(axis, own) for axis, own in zip(self._positions, strip, strict=True) if own]
        data, shape = self._pooling.data, list(self._shape)
        if cut:
            starts, ends = [min(own, 0) for _, own in cut], [own if own > 0 else _END for _, own in cut]
            for axis, own in cut:
                shape[axis] = abs(own)
            bounds = [self._writer.ints(numbers) for numbers in (starts, ends, [axis for axis, _ in cut])]
            data = self._add("Slice", [data, *bounds], tuple(shape))
        axes = self._writer.ints(self._positions)
        return self._add("ReduceSum", [data, axes], (shape[0], self._pooling.inputs), {"keepdims": 0})

    def _bias(self) -> ir.Value | None:
        pooling = self._pooling
        if pooling.bias_per_position.any():
            number = self._add("ReduceProd", [self._sizes()], (1,), {"keepdims": 1})
            number.type = ir.TensorType(ir.DataType.INT64)
            number = self._add("Cast", [number], (1,), {"to": int(self._like.dtype or ir.DataType.FLOAT)})
            each = self._constant(pooling.bias_per_position, "pooled_bias")
            return self._add("Mul", [number, each], (pooling.outputs,))
        return self._constant(pooling.bias, "pooled_bias") if pooling.bias.any() else None

    def _sizes(self) -> ir.Value:
        """Returns the sizes of the axes that hold positions."""
        first, last = self._positions[0], self._positions[-1]
        rank = len(self._shape)
        is_cut = self._writer.facts.opset >= _CUTS_SHAPE and self._positions == list(range(first, last + 1))
        cut = {"start": first, "end": last + 1} if is_cut else None
        sizes = self._add("Shape", [self._pooling.data], (last + 1 - first if is_cut else rank,), cut)
        sizes.type = ir.TensorType(ir.DataType.INT64)
        if not is_cut:
            chosen = [sizes, self._writer.ints(self._positions)]
            sizes = self._add("Gather", chosen, (len(self._positions),), {"axis": 0})
            sizes.type = ir.TensorType(ir.DataType.INT64)
        return sizes

    def _constant(self, array: Array, name: str) -> ir.Value:
        assert self._like.dtype is not None
        return self._writer.constant(np.ascontiguousarray(array, self._like.dtype.numpy()), name)

    def _add(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        shape: Shape,
        attributes: Mapping[str, object] | None = None,
    ) -> ir.Value:
        given = inputs if inputs[-1] is not None else inputs[:-1]
        return self._writer.add(op_type, given, self._before, like=self._like, shape=shape, attributes=attributes)


def number_of_positions(shape: Shape, axis: int) -> int | None:
    """Returns how many positions a tensor of some shape has, None where that is not known."""
    found = product([size for index, size in enumerate(shape) if index not in (0, axis)])
    return found if isinstance(found, int) else None
