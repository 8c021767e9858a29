"""Constants as tilings: a uniform tensor is one scalar, an integer tensor is ramps, anything else is itself.

Index tensors arrive as plain numbers once an exporter has folded them (all positions of a slice, one row each).
Reading them back as ramps is what makes a scatter with constant indices a slice assignment again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from s2deploy.rewrite.contents import Content, Ramp, Read, Scalar
from s2deploy.rewrite.merged import Merged, Movement
from s2deploy.rewrite.regions import Tiling, concat
from s2deploy.rewrite.strides import Interleaved

_LARGEST_FIT = 1 << 24
_LARGEST_FOLD = 1 << 18
_LARGEST_UNIFORM = 1 << 22
_MOST_RUNS = 8192
_LARGEST_SPAN = 1 << 62

Array = npt.NDArray[Any]


def constant_tiling(value: ir.Value, tensor: ir.TensorProtocol) -> Tiling:
    """Returns a constant as a tiling; as a read of `value` itself where nothing simpler holds."""
    shape: tuple[int, ...] = tuple(int(str(size)) for size in tensor.shape)
    count = int(np.prod(shape, dtype=np.int64))
    whole = Tiling.whole(value, shape)
    if count == 0 or count > _LARGEST_FIT or tensor.dtype == ir.DataType.STRING:
        return whole
    if tensor.dtype.is_integer() or tensor.dtype == ir.DataType.BOOL:
        array = np.asarray(tensor.numpy())
        return _ramps(array.astype(np.int64)) or whole
    if count > _LARGEST_UNIFORM:
        return whole
    uniform = scalar_of(np.asarray(tensor.numpy()))
    return whole if uniform is None else Tiling.of(uniform, shape)


def scalar_of(array: Array) -> Scalar | None:
    """Returns the scalar that every element of a non-integer array is, bit by bit, or None."""
    flat = np.ascontiguousarray(array).reshape(-1)
    raw = flat.view(np.uint8).reshape(flat.size, -1)
    if (raw != raw[0]).any():
        return None
    return Scalar((str(array.dtype), raw[0].tobytes()))


def array_of(content: Content, dtype: ir.DataType) -> Array:
    """Returns a scalar or constant ramp as a numpy scalar array of an ONNX type."""
    if isinstance(content, Scalar):
        assert isinstance(content.key, tuple)
        return np.frombuffer(content.key[1], dtype=dtype.numpy()).reshape(())
    if isinstance(content, Ramp) and isinstance(content.base, int):
        return np.asarray(content.base).astype(dtype.numpy())
    raise TypeError(f"{content} is no constant")


def constant_array(tensor: Movement, dtype: ir.DataType) -> Array | None:
    """Returns the elements of a tensor that reads no source and is not large, None for any other."""
    if isinstance(tensor, Interleaved):
        split = constant_array(tensor.tiling, dtype)
        sizes = [size for size in tensor.shape if isinstance(size, int)]
        filled = [size for size in tensor.filled_shape if isinstance(size, int)]
        return None if split is None else split.reshape(filled)[tuple(map(slice, sizes))]
    if isinstance(tensor, Merged):
        apart = constant_array(tensor.tiling, dtype)
        return None if apart is None else apart.reshape([size for size in tensor.shape if isinstance(size, int)])
    shape = [size for size in tensor.shape if isinstance(size, int)]
    if len(shape) < tensor.rank or math.prod(shape) > _LARGEST_FOLD or dtype == ir.DataType.STRING:
        return None
    array = np.zeros(shape, dtype.numpy())
    for origin, size, content in tensor.boxes():
        if isinstance(content, Read) or not all(isinstance(c, int) for c in (*origin, *size)):
            return None
        if isinstance(content, Ramp) and not all(isinstance(c, int) for c in (content.base, *content.steps)):
            return None
        place = tuple(slice(a, a + b) for a, b in zip(origin, size, strict=True))
        array[place] = _elements(content, [n for n in size if isinstance(n, int)], dtype)
    return array


def _elements(content: Scalar | Ramp, shape: list[int], dtype: ir.DataType) -> Array:
    if isinstance(content, Scalar) or content.is_constant:
        return array_of(content, dtype)
    grid = np.indices(shape, dtype=np.int64)
    steps = (step * grid[axis] for axis, step in enumerate(content.steps) if isinstance(step, int))
    return np.asarray(sum(steps, np.full(shape, content.base, np.int64))).astype(dtype.numpy())


def _ramps(array: Array) -> Tiling | None:
    """Returns integers as a tiling of ramps, or None where they follow no simple pattern."""
    whole = _one_ramp(array)
    if whole is not None:
        return Tiling.of(whole, array.shape)
    axis = array.ndim - 1 if array.ndim > 1 and array.shape[-1] <= 16 else 0
    pieces = [np.take(array, range(a, b), axis) for a, b in _runs(array, axis)]
    if len(pieces) > _MOST_RUNS:
        return None
    tilings: list[Tiling] = []
    for piece in pieces:
        tiling = _ramps(piece) if piece.shape != array.shape else _split(piece)
        if tiling is None:
            return None
        tilings.append(tiling)
    return concat(axis, tilings)


def _split(array: Array) -> Tiling | None:
    """Takes an array apart along its first axis longer than 1 that has few positions."""
    for axis, size in enumerate(array.shape):
        if 1 < size <= 64:
            parts = [_ramps(np.take(array, [i], axis)) for i in range(size)]
            if any(part is None for part in parts):
                return None
            return concat(axis, [part for part in parts if part is not None])
    return None


def _one_ramp(array: Array) -> Ramp | None:
    base = int(array.flat[0])
    steps: list[int] = []
    expected: Any = base
    for axis, size in enumerate(array.shape):
        corner = [0] * array.ndim
        corner[axis] = min(1, size - 1)
        step = int(array[tuple(corner)]) - base
        if abs(step) * size >= _LARGEST_SPAN:
            return None
        steps.append(step)
        grid = np.arange(size, dtype=np.int64).reshape([-1 if a == axis else 1 for a in range(array.ndim)])
        expected = expected + step * grid
    return Ramp(base, tuple(steps)) if np.array_equal(np.broadcast_to(expected, array.shape), array) else None


def _runs(array: Array, axis: int) -> Sequence[tuple[int, int]]:
    """Returns the ranges along an axis within which the array grows by the same constant from step to step."""
    size = array.shape[axis]
    rows = np.moveaxis(array, axis, 0).reshape(size, -1)
    differences = np.diff(rows, axis=0)
    regular = (differences == differences[:, :1]).all(axis=1)
    slopes = differences[:, 0]
    runs: list[tuple[int, int]] = []
    start = 0
    while start < size:
        end = start + 1
        while end < size and regular[end - 1] and (end == start + 1 or slopes[end - 1] == slopes[start]):
            end += 1
        runs.append((start, end))
        start = end
    return runs
