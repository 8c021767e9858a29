"""Discrete Fourier transforms of known lengths, as products with constant matrices.

Before: ``DFT(x)`` along one axis of n elements, real or complex, forwards or backwards, of one or both sides; in front
of it perhaps a factor, such as that of an orthonormal transform.
After: by real and imaginary parts, for the cosines C and sines S of ``2 pi j k / n``:

    forwards            (C xr + S xi, C xi - S xr), of half the frequencies where one side is wanted
    backwards           (C xr - S xi, C xi + S xr) / n
    backwards to reals  (C' xr - S' xi) / n, where C' and S' count the frequencies twice that have a mirror image

Requires: opset 17, a floating type that numpy has, a known length of at most 1,024 with every matrix below 4 MiB.
Refuses, with the reason: other lengths, and more than one dimension of unknown size behind the axis.
Preserves shape, dtype and names; a product rounds differently. It is faster than onnxruntime's DFT, and closer to the
transform where the length is no power of two; TensorRT has no DFT at all.
Source: the ONNX specification of DFT; onnxruntime's, which takes one side backwards as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from s2deploy.rewrite.constants import Array
from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.coordinates import Interval, UndecidedError
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.layout_writing import Writer, full_target, product
from s2deploy.rewrite.movement import Rewrite
from s2deploy.rewrite.outputs import substitute
from s2deploy.rewrite.refusals import NotMovementError, Refusal
from s2deploy.rewrite.rules import RULES
from s2deploy.rewrite.rules_movement import int_attribute

_OPSETS = range(17, 27)
_AXIS_IS_INPUT = 20
_LONGEST = 1024
_LARGEST_BYTES = 4 << 20
_TYPES = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16})


class _Parts(NamedTuple):
    """Real and imaginary parts of a tensor, without the axis of the pair; None are zeros."""

    real: ir.Value
    imaginary: ir.Value | None


@dataclass(frozen=True)
class _Transform:
    """A DFT.

    Attributes:
        axis: Along which axis.
        count: How many elements it reads there.
        length: The length of the transform, to which these are cut or filled up with zeros.
        inverse: Whether it goes backwards.
        is_one_sided: Whether the side of the frequencies is one.
        is_complex: Whether it reads pairs.
    """

    axis: int
    count: int
    length: int
    inverse: bool
    is_one_sided: bool
    is_complex: bool

    def matrices(self) -> tuple[Array, Array]:
        """Returns cosines and sines, a row for each element of the result and a column for each that is read."""
        half = self.length // 2 + 1
        rows = half if self.is_one_sided and not self.inverse else self.length
        used = min(self.count, half if self.is_one_sided and self.inverse else self.length)
        turns = np.outer(np.arange(rows), np.arange(used)) % self.length * (2 * np.pi / self.length)
        factors = np.full(used, 1 / self.length if self.inverse else 1.0)
        if self.inverse and self.is_one_sided:
            factors *= [1 if (2 * place) % self.length == 0 else 2 for place in range(used)]
        unused = ((0, 0), (0, self.count - used))
        return np.pad(np.cos(turns) * factors, unused), np.pad(np.sin(turns) * factors, unused)


def multiply_transforms(
    graph: ir.Graph, ranges: Mapping[str, Interval], allow: Callable[[str], bool] = lambda name: True
) -> tuple[list[Rewrite], list[Refusal]]:
    """Rewrites transforms in place; nodes that nothing reads any more are left for a clean-up.

    Args:
        graph: The graph, in topological order.
        ranges: Smallest and largest size of named dimensions.
        allow: Asked with the name of a transform's output right before it is replaced.
    """
    done: list[Rewrite] = []
    refusals: list[Refusal] = []
    nodes = [node for node in graph if node.op_type == "DFT" and node.domain == ""]
    if not nodes or graph.opset_imports.get("") not in _OPSETS:
        return done, refusals
    facts = Interpretation(graph, ranges, RULES)
    writing = _Writing(facts)
    for node in nodes:
        name = node.outputs[0].name or ""
        try:
            plan = writing.plan(node)
        except (NotMovementError, UndecidedError, IndexError) as reason:
            refusals.append(Refusal.of(node, f"not a product with a constant matrix: {reason}"))
            continue
        if allow(name):
            added = writing.write(node, plan)
            done.append(Rewrite(name, {"DFT": 1}, added, node.metadata_props.get("s2deploy.source")))
    return done, refusals


class _Writing:
    """Writes products in place of transforms; what one transform gives, the next one reads by parts."""

    def __init__(self, facts: Interpretation) -> None:
        self._facts, self._writer = facts, Writer(facts)
        self._parts: dict[ir.Value, _Parts] = {}

    def plan(self, node: ir.Node) -> _Transform:
        """Returns what a node does; raises `NotMovementError` with the reason where it stays."""
        data, result = node.inputs[0], node.outputs[0]
        if data is None or result.dtype not in _TYPES:
            raise NotMovementError(f"elements of type {result.dtype}")
        shape = self._facts.shape(data)
        given = [*node.inputs[1:], None, None]
        axis = self._number(given[1], -2) if self._facts.opset >= _AXIS_IS_INPUT else int_attribute(node, "axis", 1)
        axis += len(shape) if axis < 0 else 0
        count, pair = shape[axis], shape[-1]
        if not isinstance(count, int) or pair not in (1, 2):
            raise NotMovementError(f"{count} elements along axis {axis} in shape ({', '.join(map(str, shape))})")
        inverse, is_one_sided = (int_attribute(node, name, 0) == 1 for name in ("inverse", "onesided"))
        length = self._number(given[0], 2 * (count - 1) if inverse and is_one_sided else count)
        found = _Transform(axis, count, length, inverse, is_one_sided, pair == 2)
        if not 0 < length <= _LONGEST:
            raise NotMovementError(f"its length is {length}, more than {_LONGEST}" if length else "its length is 0")
        if (size := count * length * result.dtype.itemsize) > _LARGEST_BYTES:
            raise NotMovementError(f"it would take matrices of {size / 1e6:.1f} MB")
        if axis < len(shape) - 3:
            self._targets(shape[:-1], (*shape[:axis], length, *shape[axis + 1 : -1]), axis)
        return found

    def write(self, node: ir.Node, found: _Transform) -> dict[str, int]:
        """Replaces a transform and returns how many nodes of which operators it takes."""
        before, result = len(self._writer.written), node.outputs[0]
        factor, data = _scaled(node.inputs[0])
        real, imaginary = self._read(node, data, found)
        cosines, sines = (factor * matrix for matrix in found.matrices())
        turned = sines if found.inverse else -sines
        parts = [self._sum(node, found.axis, [(cosines, real), (-turned, imaginary)])]
        if not (found.inverse and found.is_one_sided):
            parts.append(self._sum(node, found.axis, [(turned, real), (cosines, imaginary)]))
        axis = self._writer.ints([-1])
        pairs = [self._add(node, "Unsqueeze", [part, axis], (*self._facts.shape(part), 1)) for part in parts]
        new = pairs[0]
        if len(pairs) > 1:
            new = self._add(node, "Concat", pairs, (*self._facts.shape(parts[0]), len(pairs)), axis=-1)
        new = substitute(self._facts.graph, result, new, node)
        self._parts[new] = _Parts(parts[0], parts[1] if len(parts) > 1 else None)
        return dict(Counter(added.op_type for added in self._writer.written[before:]))

    def _read(self, node: ir.Node, data: ir.Value, found: _Transform) -> _Parts:
        """Returns the parts of what a transform reads."""
        if data not in self._parts:
            shape = self._facts.shape(data)[:-1]
            if found.is_complex:
                places = [self._writer.constant(np.array(place, np.int64), "s2deploy_part") for place in range(2)]
                self._parts[data] = _Parts(*(self._add(node, "Gather", [data, k], shape, axis=-1) for k in places))
            else:
                self._parts[data] = _Parts(self._add(node, "Squeeze", [data, self._writer.ints([-1])], shape), None)
        return self._parts[data]

    def _sum(self, node: ir.Node, axis: int, products: Sequence[tuple[Array, ir.Value | None]]) -> ir.Value:
        """Writes a sum of products of matrices with tensors along an axis; None are zeros."""
        terms = [self._product(node, axis, matrix, tensor) for matrix, tensor in products if tensor is not None]
        return terms[0] if len(terms) == 1 else self._add(node, "Add", terms, self._facts.shape(terms[0]))

    def _product(self, node: ir.Node, axis: int, matrix: Array, tensor: ir.Value) -> ir.Value:
        """Writes the product of a matrix with a tensor along an axis."""
        shape = self._facts.shape(tensor)
        assert node.outputs[0].dtype is not None
        typed = matrix.astype(node.outputs[0].dtype.numpy())
        full = (*shape[:axis], len(matrix), *shape[axis + 1 :])
        if axis == len(shape) - 1:
            transposed = self._writer.constant(np.ascontiguousarray(typed.T), "fourier")
            return self._add(node, "MatMul", [tensor, transposed], full)
        factor = self._writer.constant(typed, "fourier")
        if axis == len(shape) - 2:
            return self._add(node, "MatMul", [factor, tensor], full)
        there, back = self._targets(shape, full, axis)
        flat = (*shape[: axis + 1], product(shape[axis + 1 :]))
        tensor = self._add(node, "Reshape", [tensor, self._writer.ints(there)], flat)
        flat = (*full[: axis + 1], flat[-1])
        multiplied = self._add(node, "MatMul", [factor, tensor], flat)
        return self._add(node, "Reshape", [multiplied, self._writer.ints(back)], full)

    def _targets(self, shape: Shape, full: Shape, axis: int) -> tuple[list[int], list[int]]:
        """Returns the targets of the Reshapes that make the axes behind an axis one, and many again."""
        flat = product(shape[axis + 1 :])
        there = self._target(axis, shape, (*shape[: axis + 1], flat))
        back = self._target(axis, (*full[: axis + 1], flat), full)
        if there is None or back is None:
            behind = ", ".join(map(str, shape[axis + 1 :]))
            raise NotMovementError(f"the axes behind axis {axis} have unknown sizes: {behind}")
        return there, back

    def _target(self, kept: int, before: Shape, after: Shape) -> list[int] | None:
        """Returns the target of a Reshape; with numbers alone behind the axes that are kept, these may be of size 0."""
        numbers = [size for size in after[kept:] if isinstance(size, int)]
        return [0] * kept + numbers if len(numbers) == len(after) - kept else full_target(self._facts, before, after)

    def _add(
        self, node: ir.Node, op_type: str, inputs: Sequence[ir.Value | None], shape: Shape, **attributes: int
    ) -> ir.Value:
        return self._writer.add(op_type, inputs, node, like=node.outputs[0], shape=shape, attributes=attributes)

    def _number(self, value: ir.Value | None, default: int) -> int:
        """Returns a number that a node is given."""
        if value is None:
            return default
        numbers = self._facts.integers(value)
        if len(numbers) != 1 or not isinstance(numbers[0], int):
            raise NotMovementError(f"{value.name} is {', '.join(map(str, numbers))}")
        return numbers[0]


def _scaled(value: ir.Value | None) -> tuple[float, ir.Value]:
    """Returns a value as a number times another one that is not such a product."""
    assert value is not None
    total = 1.0
    while (found := _factor(value.producer())) is not None:
        factor, value = found
        total *= factor
    return total, value


def _factor(node: ir.Node | None) -> tuple[float, ir.Value] | None:
    """Returns the number that a node multiplies by, and what it multiplies."""
    if node is None or node.op_type not in ("Mul", "Div") or node.domain != "":
        return None
    for number, other in ([*node.inputs], [*node.inputs][::-1]):
        tensor = None if number is None or number.is_graph_input() else number.const_value
        if tensor is None or other is None or tensor.size != 1 or len(tensor.shape) > 1:
            continue
        amount = float(tensor.numpy().item())
        if node.op_type == "Mul":
            return amount, other
        if number is node.inputs[1] and amount:
            return 1 / amount, other
    return None
