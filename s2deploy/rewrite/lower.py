"""From expressions to ONNX nodes, in front of the node whose output they replace.

Slice bounds that depend on a size are written relative to the end of the axis (``-1``, or no end at all), so that
a dynamic shift needs no arithmetic on shapes; only a bound that has no such form is computed from Shape.
Equal expressions become one value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from s2deploy.rewrite.bounds import Bounds
from s2deploy.rewrite.constants import Array, array_of
from s2deploy.rewrite.contents import Ramp, Scalar, Shape
from s2deploy.rewrite.coordinates import Coord, dimension, divide, floor_divide, quotient_of
from s2deploy.rewrite.expressions import (
    Concat,
    DepthToSpace,
    Expand,
    Expression,
    Fill,
    Gather,
    Pad,
    Reshape,
    Slice,
    Source,
    Squeeze,
    Transpose,
    Unsqueeze,
    Window,
)
from s2deploy.rewrite.initializers import add_initializer
from s2deploy.rewrite.outputs import substitute
from s2deploy.rewrite.pads import writable
from s2deploy.rewrite.reshape_targets import short_target

_END = (1 << 63) - 1
_LARGEST_CONSTANT = 1024
_IMAGE_TYPES = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE})


class CannotLowerError(Exception):
    """An expression has no form in ONNX at this opset, or needs a size that no value has."""


class Lowering:
    """Turns expressions into nodes of one graph.

    Args:
        graph: The graph that receives nodes and initializers.
        bounds: What is known of the named dimensions.
        dimensions: A value and an axis that has it, for sizes that depend on named dimensions.
        opset: The version of the default operator set.
    """

    def __init__(
        self, graph: ir.Graph, bounds: Bounds, dimensions: Mapping[Coord, tuple[ir.Value, int]], opset: int
    ) -> None:
        self._graph = graph
        self._bounds_of_sizes = bounds
        self._substituted: dict[ir.Value, ir.Value] = {}
        self._opset = opset
        self._dimensions = dimensions
        self._position = {node: position for position, node in enumerate(graph)}
        self._values: dict[tuple[Expression, ir.DataType], ir.Value] = {}
        self._sizes: dict[Coord, ir.Value] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
        self._added: list[ir.Node] = []
        self._before: ir.Node | None = None
        self._metadata: dict[str, str] = {}

    @property
    def added(self) -> Sequence[ir.Node]:
        """The nodes inserted so far."""
        return self._added

    def lower(self, expression: Expression, dtype: ir.DataType, before: ir.Node) -> ir.Value:
        """Returns a value of an expression, computed by nodes inserted in front of a node.

        Raises:
            CannotLowerError: See there; nodes inserted until then are left unused.
        """
        self._before = before
        source = before.metadata_props.get("s2deploy.source")
        self._metadata = {} if source is None else {"s2deploy.source": source}
        return self._lower(writable(expression, dtype, self._opset), dtype)

    def substitute(self, old: ir.Value, new: ir.Value, before: ir.Node) -> None:
        """Makes every reader of `old` read `new`, those that expressions will add included; see `outputs.py`."""
        self._substituted[old] = substitute(self._graph, old, new, before)

    def _lower(self, expression: Expression, dtype: ir.DataType) -> ir.Value:
        if isinstance(expression, Source):
            assert isinstance(expression.value, ir.Value)
            return self._substituted.get(expression.value, expression.value)
        key = (expression, dtype)
        if key not in self._values:
            self._values[key] = self._node_of(expression, dtype)
        return self._values[key]

    def _node_of(self, expression: Expression, dtype: ir.DataType) -> ir.Value:
        shape = expression.shape
        if isinstance(expression, Fill):
            return self._fill(expression.content, shape, dtype)
        if isinstance(expression, Concat):
            parts = [self._lower(part, dtype) for part in expression.parts]
            return self._add("Concat", parts, dtype, shape, axis=expression.axis)
        assert not isinstance(expression, Source)
        data = self._lower(expression.of, dtype)
        if isinstance(expression, Slice):
            bounds = [self._bounds(w, expression.of.shape[w.axis]) for w in expression.windows]
            inputs = [
                data,
                self._vector([start for start, _ in bounds]),
                self._vector([end for _, end in bounds]),
                self._vector([w.axis for w in expression.windows]),
            ]
            if any(w.step != 1 for w in expression.windows):
                inputs.append(self._vector([w.step for w in expression.windows]))
            return self._add("Slice", inputs, dtype, shape)
        if isinstance(expression, Transpose):
            return self._add("Transpose", [data], dtype, shape, perm=list(expression.perm))
        if isinstance(expression, Expand):
            return self._add("Expand", [data, self._vector(shape)], dtype, shape)
        if isinstance(expression, DepthToSpace):
            return self._depth_to_space(expression, data, dtype)
        if isinstance(expression, Reshape):
            return self._reshape(data, expression.of.shape, shape, dtype)
        if isinstance(expression, Gather):
            return self._add("Gather", [data, self._vector(expression.indices)], dtype, shape, axis=expression.axis)
        if isinstance(expression, Pad):
            fill = self.constant(array_of(expression.fill, dtype))
            pads = self._vector([*expression.before, *expression.after])
            return self._add("Pad", [data, pads, fill], dtype, shape, mode="constant")
        name = "Squeeze" if isinstance(expression, Squeeze) else "Unsqueeze"
        assert isinstance(expression, (Squeeze, Unsqueeze))
        if self._opset < 13:
            return self._add(name, [data], dtype, shape, axes=list(expression.axes))
        return self._add(name, [data, self._vector(expression.axes)], dtype, shape)

    def _reshape(self, data: ir.Value, before: Shape, after: Shape, dtype: ir.DataType) -> ir.Value:
        target = short_target(self._bounds_of_sizes, before, after)
        if target is not None:
            sizes = [size if number is None else number for size, number in zip(after, target, strict=True)]
            return self._add("Reshape", [data, self._vector(sizes)], dtype, after)
        if self._opset >= 14:
            return self._add("Reshape", [data, self._vector(after)], dtype, after, allowzero=1)
        if any(self._bounds_of_sizes.at_most(1, size) is not True for size in after):
            raise CannotLowerError("a Reshape to a size that may be 0 needs opset 14")
        return self._add("Reshape", [data, self._vector(after)], dtype, after)

    def _depth_to_space(self, expression: DepthToSpace, data: ir.Value, dtype: ir.DataType) -> ir.Value:
        """Adds the operator for the types that every runtime has it for, its definition for the others."""
        block = expression.block
        if dtype in _IMAGE_TYPES:
            return self._add("DepthToSpace", [data], dtype, expression.shape, blocksize=block, mode="DCR")
        n, c, rows, columns = expression.of.shape
        channels = divide(c, block * block)
        assert channels is not None
        split = (n, block, block, channels, rows, columns)
        perm = (0, 3, 4, 1, 5, 2)
        images = self._reshape(data, expression.of.shape, split, dtype)
        ordered = tuple(split[p] for p in perm)
        return self._reshape(
            self._add("Transpose", [images], dtype, ordered, perm=list(perm)), ordered, expression.shape, dtype
        )

    def _fill(self, content: Scalar | Ramp, shape: Shape, dtype: ir.DataType) -> ir.Value:
        if isinstance(content, Ramp) and not content.is_constant:
            return self._ramp(content, shape, dtype)
        if isinstance(content, Ramp) and not isinstance(content.base, int):
            if dtype != ir.DataType.INT64:
                raise CannotLowerError(f"{content.base} as {dtype}")
            scalar = self._size(content.base)
            if shape == (1,):
                return scalar
            if shape == ():
                return self._squeezed(scalar)
            return self._add("Expand", [scalar, self._vector(shape)], dtype, shape)
        element = array_of(content, dtype)
        if _count(shape) <= _LARGEST_CONSTANT:
            return self.constant(np.full([size for size in shape if isinstance(size, int)], element))
        value = ir.tensor(element.reshape(1))
        return self._add("ConstantOfShape", [self._vector(shape)], dtype, shape, value=value)

    def _ramp(self, content: Ramp, shape: Shape, dtype: ir.DataType) -> ir.Value:
        """Returns integers that grow along some axes: a constant of those axes, broadcast along the others."""
        varied: Shape = tuple(size if step else 1 for size, step in zip(shape, content.steps, strict=True))
        if _count(shape) <= _LARGEST_CONSTANT:
            varied = shape
        steps = [step for step in content.steps if isinstance(step, int)]
        if _count(varied) > _LARGEST_CONSTANT or len(steps) < len(content.steps):
            raise CannotLowerError("an index of that size stays computed")
        sizes = [size for size in varied if isinstance(size, int)]
        grid = np.indices(tuple(sizes), dtype=np.int64)
        offsets = sum((step * grid[axis] for axis, step in enumerate(steps)), np.zeros(sizes, np.int64))
        if isinstance(content.base, int):
            value = self.constant((offsets + content.base).astype(dtype.numpy()))
        elif dtype == ir.DataType.INT64:
            value = self._add("Add", [self._size(content.base), self.constant(offsets)], dtype, varied)
        else:
            raise CannotLowerError("an index of that form stays computed")
        return value if varied == shape else self._add("Expand", [value, self._vector(shape)], dtype, shape)

    def _bounds(self, window: Window, total: Coord) -> tuple[Coord, Coord]:
        """Returns start and end of a slice in the form that needs no arithmetic where there is one."""
        start, size, step = window.start, window.size, window.step
        if size == 0:
            return 0, 0
        end = start + size * step
        if step < 0:
            if size == floor_divide(start - step, -step) or (isinstance(end, int) and end < 0):
                return _from_end(start, total), -_END
            # Counted from the end it is negative at every size, also where it lies in front of the first element.
            return _from_end(start, total), end if isinstance(end, int) else end - total
        rest = total - start
        covers = size == (rest if step == 1 else floor_divide(rest + step - 1, step))
        return _from_end(start, total), _END if covers else _from_end(end, total)

    def _vector(self, coords: Sequence[Coord]) -> ir.Value:
        """Returns a one-dimensional int64 value of coordinates, a constant where they are numbers."""
        fixed = [coord for coord in coords if isinstance(coord, int)]
        if len(fixed) == len(coords):
            return self.constant(np.array(fixed, dtype=np.int64))
        parts = [self._vector([coord]) if isinstance(coord, int) else self._size(coord) for coord in coords]
        if len(parts) == 1:
            return parts[0]
        return self._add("Concat", parts, ir.DataType.INT64, (len(parts),), axis=0)

    def _size(self, coord: Coord) -> ir.Value:
        """Returns a coordinate as an int64 value of shape (1,), computed from the shapes of existing values."""
        if coord not in self._sizes:
            self._sizes[coord] = self._measured(coord) or self._computed(coord)
        return self._sizes[coord]

    def _measured(self, coord: Coord) -> ir.Value | None:
        """Returns the size of an axis that has it and is computed before the nodes that are being added."""
        if not self._is_measurable(coord):
            return None
        value, axis = self._dimensions[coord]
        if self._opset >= 15:
            return self._add("Shape", [value], ir.DataType.INT64, (1,), start=axis, end=axis + 1)
        sizes = self._add("Shape", [value], ir.DataType.INT64, (len(value.shape or ()),))
        return self._add("Gather", [sizes, self._vector([axis])], ir.DataType.INT64, (1,), axis=0)

    def _is_measurable(self, coord: Coord) -> bool:
        if coord not in self._dimensions or self._before is None:
            return False
        producer = self._dimensions[coord][0].producer()
        # What is computed around this graph is computed before any of its nodes.
        return producer is None or self._position.get(producer, -1) < self._position[self._before]

    def _computed(self, coord: Coord) -> ir.Value:
        assert not isinstance(coord, int)
        total: ir.Value | None = None
        for monomial, factor in sorted(coord.terms, key=lambda term: not term[0]):
            term = None if factor == 1 and monomial else self._vector([factor])
            for name in monomial:
                term = self._combined("Mul", term, self._dimension(name))
            assert term is not None
            total = self._combined("Add", total, term)
        assert total is not None
        return total

    def _dimension(self, name: str) -> ir.Value:
        """Returns a named dimension: measured, or as the quotient that its name or a measured multiple of it says."""
        key = dimension(name)
        found = self._sizes.get(key) or self._measured(key)
        if found is None:
            multiple, whole = self._multiple_of(name) or quotient_of(name) or (None, 1)
            if multiple is None:
                raise CannotLowerError(f"no value known by then has the size {name}")
            found = self._add("Div", [self._vector([multiple]), self._vector([whole])], ir.DataType.INT64, (1,))
        self._sizes[key] = found
        return found

    def _multiple_of(self, name: str) -> tuple[Coord, int] | None:
        """Returns a size that is so many times a named dimension, and how many times."""
        for coord in self._dimensions:
            count = divide(coord, dimension(name))
            if isinstance(count, int) and count > 0 and self._is_measurable(coord):
                return coord, count
        return None

    def _combined(self, op_type: str, left: ir.Value | None, right: ir.Value) -> ir.Value:
        return right if left is None else self._add(op_type, [left, right], ir.DataType.INT64, (1,))

    def forget(self) -> None:
        """Starts over with nothing computed, for nodes in front of those added so far."""
        self._values.clear()
        self._sizes.clear()

    def position(self, node: ir.Node) -> int:
        """Returns where a node of the original graph stands."""
        return self._position[node]

    def _squeezed(self, scalar: ir.Value) -> ir.Value:
        if self._opset < 13:
            return self._add("Squeeze", [scalar], ir.DataType.INT64, (), axes=[0])
        return self._add("Squeeze", [scalar, self._vector([0])], ir.DataType.INT64, ())

    def constant(self, array: Array) -> ir.Value:
        """Returns an initializer of the given elements, one for equal arrays."""
        array = np.ascontiguousarray(array).reshape(array.shape)
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            name = f"s2deploy_constant_{len(self._constants)}"
            self._constants[key] = add_initializer(self._graph, name, array)
        return self._constants[key]

    def _add(
        self, op_type: str, inputs: Sequence[ir.Value], dtype: ir.DataType, shape: Shape, **attributes: object
    ) -> ir.Value:
        node = ir.node(op_type, inputs, attributes, metadata_props=dict(self._metadata))  # type: ignore[arg-type]
        output = node.outputs[0]
        output.type = ir.TensorType(dtype)
        output.shape = ir.Shape([size if isinstance(size, int) else str(size) for size in shape])
        assert self._before is not None
        self._graph.insert_before(self._before, node)
        self._added.append(node)
        return output


def _count(shape: Shape) -> float:
    """Returns the number of elements, infinity where it depends on a size."""
    sizes = [size for size in shape if isinstance(size, int)]
    return math.prod(sizes) if len(sizes) == len(shape) else math.inf


def _from_end(position: Coord, total: Coord) -> Coord:
    """Returns a position that depends on a size as an offset from the end, where it is one."""
    if isinstance(position, int):
        return position
    offset = position - total
    if isinstance(offset, int):
        return offset if offset < 0 else _END
    return position
