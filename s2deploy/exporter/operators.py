"""ONNX translations of the PyTorch operators that write a part of a tensor.

torch's own translations of these build an index at run time and scatter with it. Data that only moves stays Slice and
Concat here, which later stages can see through:

    slice(x)                      Slice
    slice_scatter(x, src)         Concat(x before the slice, src, x behind the slice)
    select_scatter(x, src, i)     the same, for a slice of size 1
    roll(x, shift)                Concat of two slices, the shift modulo the size
    copy(x, src)                  src, cast to the dtype of x and expanded to its shape
    squeeze(x, dims)              x without those of the axes that are of size 1 as captured
    where(c, x, y)                Or(And(c, x), And(Not(c), y)) for booleans
    masked_fill(x, c, value)      where(c, value, x)
    remainder(x, n)               Mod, for floats x - Floor(x / n) * n
    sort(x), stable               TopK of all, which puts the first of equal elements first
    relu(x)                       Max(x, 0) for int64, which onnxruntime's Relu does not take

Source: aten's schemas; ONNX Slice-13, Concat-13, Expand-13, Cast-13.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from s2deploy.exporter.slices import END


def translation_table() -> Mapping[Callable[..., Any], Callable[..., Any]]:
    """Returns the translations by aten operator, for ``custom_translation_table`` of `torch.onnx.export`."""
    import torch

    aten = torch.ops.aten
    return {
        aten.slice.Tensor: slice_tensor,
        aten.slice_scatter.default: slice_scatter,
        aten.select_scatter.default: select_scatter,
        aten.roll.default: roll,
        aten.copy.default: copy,
        aten.squeeze.default: squeeze,
        aten.squeeze.dim: squeeze,
        aten.squeeze.dims: squeeze,
        aten.where.self: where,
        aten.masked_fill.Scalar: masked_fill,
        aten.masked_fill.Tensor: masked_fill,
        aten.remainder.Scalar: remainder,
        aten.sort.stable: sort_stable,
        aten.relu.default: relu,
        aten.scalar_tensor.default: scalar_tensor,
        aten.full.default: full,
        aten.full_like.default: full_like,
        torch.ops.prims.view_of.default: same_elements,
        torch.ops.prims.copy_strided.default: same_elements,
    }


def slice_tensor(self: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    """Translates ``aten.slice.Tensor``; bounds are Python integers or scalar int64 values."""
    op = _opset()

    start = 0 if start is None else start
    end = END if end is None else end
    if isinstance(start, int) and start == 0 and step == 1 and (end == END if isinstance(end, int) else False):
        return op.Identity(self)
    return op.Slice(self, _vector(start), _vector(end), [dim], [step])


def slice_scatter(self: Any, src: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    """Translates ``aten.slice_scatter``; two constant bounds are in order (see `slices`)."""
    op = _opset()

    dim %= len(self.shape)  # the size of a negative one would end at 0, before it starts
    if step != 1:
        return _scatter_with_step(self, src, dim, start, end, step)
    start = 0 if start is None else start
    end = END if end is None else end
    if _is_empty(start, end, self.shape[dim]):
        return op.Identity(self)
    parts = []
    if not (isinstance(start, int) and start == 0):
        parts.append(op.Slice(self, [0], _vector(start), [dim]))
    parts.append(src)
    if isinstance(end, int):
        if end != END and end != self.shape[dim]:
            parts.append(op.Slice(self, _vector(end), [END], [dim]))
    else:
        parts.append(op.Slice(self, _later(self, dim, start, end), [END], [dim]))
    return op.Concat(*parts, axis=dim) if len(parts) > 1 else op.Identity(src)


def select_scatter(self: Any, src: Any, dim: int, index: Any) -> Any:
    """Translates ``aten.select_scatter`` for a constant or symbolic index."""
    op = _opset()

    row = op.Unsqueeze(src, [dim])
    if isinstance(index, int):
        return slice_scatter(self, row, dim, index, END if index == -1 else index + 1)
    indices = op.Expand(_vector(index), op.Shape(row))
    return op.ScatterElements(self, indices, row, axis=dim)


def roll(self: Any, shifts: Any, dims: Any = ()) -> Any:
    """Translates ``aten.roll`` where the shift may exceed the size or is symbolic; without dims, over all elements."""
    op = _opset()
    shifts = shifts if isinstance(shifts, list | tuple) else [shifts]
    dims = dims if isinstance(dims, list | tuple) else [dims]
    rolled = self if dims else op.Reshape(self, [-1])
    for shift, dim in zip(shifts, dims or [0], strict=True):
        rank = len(self.shape) if dims else 1
        size = op.Shape(rolled, start=dim % rank, end=dim % rank + 1)
        point = op.Mod(op.Neg(_vector(shift)) if not isinstance(shift, int) else [-shift], size)
        behind = op.Slice(rolled, point, [END], [dim])
        front = op.Slice(rolled, [0], point, [dim])
        rolled = op.Concat(behind, front, axis=dim)
    return rolled if dims else op.Reshape(rolled, op.Shape(self))


def copy(self: Any, src: Any, non_blocking: bool = False) -> Any:
    """Translates ``aten.copy``: an assignment casts and broadcasts to its destination."""
    op = _opset()

    if src.dtype != self.dtype:
        src = op.Cast(src, to=self.dtype)
    if src.shape is None or self.shape is None or list(src.shape) != list(self.shape):
        src = op.Expand(src, op.Shape(self))
    return op.Identity(src)


def squeeze(self: Any, dim: int | Sequence[int] | None = None) -> Any:
    """Translates ``aten.squeeze``, which leaves axes of another size alone where ONNX refuses.

    A dynamic axis stays where a run gives it the size 1, so that the rank is the captured one.
    """
    op = _opset()
    rank = len(self.shape)
    dims = range(rank) if dim is None else [dim] if isinstance(dim, int) else dim
    axes = [axis for axis in dims if rank and self.shape[axis] == 1]
    return op.Squeeze(self, axes) if axes else op.Identity(self)


def same_elements(self: Any, strides: Any = None) -> Any:
    """Translates ``prims.view_of`` and ``prims.copy_strided``: the same elements, however they lie in memory."""
    return _opset().Identity(self)


def where(condition: Any, self: Any, other: Any) -> Any:
    """Translates ``aten.where``; of booleans by And and Or, because onnxruntime's Where has no booleans."""
    op = _opset()
    if _types().BOOL not in (self.dtype, other.dtype):
        return op.Where(condition, self, other)
    return op.Or(op.And(condition, self), op.And(op.Not(condition), other))


def masked_fill(self: Any, mask: Any, value: Any) -> Any:
    """Translates ``aten.masked_fill`` of one number or a tensor of rank 0, which is cast to the tensor's type."""
    return where(mask, _number(value, self.dtype), self)


def remainder(self: Any, other: Any) -> Any:
    """Translates ``aten.remainder`` by a number or a size, which takes the sign of the divisor."""
    op = _opset()
    other = _number(other, self.dtype)
    if not self.dtype.is_floating_point():
        return op.Mod(self, other)
    return op.Sub(self, op.Mul(op.Floor(op.Div(self, other)), other))


def sort_stable(self: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """Translates ``aten.sort.stable`` to its values and indices."""
    op = _opset()
    axis = dim % len(self.shape)
    return op.TopK(self, op.Shape(self, start=axis, end=axis + 1), axis=axis, largest=int(descending), sorted=1)


def relu(self: Any) -> Any:
    """Translates ``aten.relu``."""
    op = _opset()
    return op.Max(self, _number(0, self.dtype)) if self.dtype == _types().INT64 else op.Relu(self)


def scalar_tensor(s: Any, dtype: int = 1, layout: str = "", device: str = "", pin_memory: bool = False) -> Any:
    """Translates ``aten.scalar_tensor``, as which torch's exporter gives operators of tensors their numbers."""
    return _number(s, _types()(dtype))


def full(
    size: Any, fill_value: Any, dtype: int | None = None, layout: str = "", device: str = "", pin_memory: bool = False
) -> Any:
    """Translates ``aten.full``; without a type the number decides."""
    kinds = _types()
    if dtype is None:
        known = {bool: kinds.BOOL, int: kinds.INT64, float: kinds.FLOAT}.get(type(fill_value))
        dtype = fill_value.dtype if known is None else known
    return _opset().Expand(_number(fill_value, kinds(dtype)), size)


def full_like(
    self: Any,
    fill_value: Any,
    dtype: int | None = None,
    layout: str = "",
    device: str = "",
    pin_memory: bool = False,
    memory_format: str = "",
) -> Any:
    """Translates ``aten.full_like``."""
    op = _opset()
    return op.Expand(_number(fill_value, self.dtype if dtype is None else _types()(dtype)), op.Shape(self))


def _scatter_with_step(self: Any, src: Any, dim: int, start: Any, end: Any, step: int) -> Any:
    """Scatters along the axis with the indices that the slice selects."""
    op = _opset()

    size = op.Shape(self, start=dim, end=dim + 1)
    positions = op.Range(0, op.Squeeze(size), 1)
    start = 0 if start is None else start
    end = END if end is None else end
    selected = op.Slice(positions, _vector(start), _vector(end), [0], [step])
    rank = len(self.shape)
    aligned = op.Unsqueeze(selected, [axis for axis in range(rank) if axis != dim])
    return op.ScatterElements(self, op.Expand(aligned, op.Shape(src)), src, axis=dim)


def _is_empty(start: Any, end: Any, size: Any) -> bool:
    if not (isinstance(start, int) and isinstance(end, int)):
        return False
    if isinstance(size, int):
        end = min(end, size)
    return end <= start if (start < 0) == (end < 0) else False


def _later(self: Any, dim: int, start: Any, end: Any) -> Any:
    """Returns where what is behind a slice begins: at its end, or at its start if that comes later."""
    op = _opset()
    if isinstance(start, int) and start < 0:
        return op.Max(_vector(end), op.Add(op.Shape(self, start=dim, end=dim + 1), op.Constant(value_ints=[start])))
    if isinstance(start, int):
        return _vector(end) if start == 0 else op.Max(_vector(end), op.Constant(value_ints=[start]))
    return op.Max(_vector(start), _vector(end))


def _types() -> Any:
    import onnx_ir as ir

    return ir.DataType


def _opset() -> Any:
    """Returns the operators; untyped, because their stubs know nothing of the Python values that torch converts."""
    from onnxscript import opset18

    return opset18


def _number(value: Any, dtype: Any) -> Any:
    """Returns a number, or a tensor of rank 0, in a tensor's type, as which a number is exact."""
    import numpy as np
    import onnx_ir as ir

    op = _opset()
    if not isinstance(value, (bool, int, float)):
        return op.Cast(value, to=dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        return op.Constant(value=ir.tensor(np.array(value).astype(dtype.numpy()), dtype=dtype))


def _vector(value: Any) -> Any:
    """Returns an integer as a list, which becomes a constant, or a symbolic one as a tensor of rank 1."""
    op = _opset()

    return [value] if isinstance(value, int) else op.Reshape(value, [-1])
