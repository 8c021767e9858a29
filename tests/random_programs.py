"""Random ONNX programs of movement operators, valid by construction at several sizes at once.

A size is a tuple: what an axis measures at each of the program's size assignments. Operators are drawn so that they are
valid at all of them, whether their positions are constants or computed from Shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

Size = tuple[int, ...]

_END = (1 << 63) - 1


@dataclass
class Program:
    """A program under construction: its nodes, its constants, and the values drawn from."""

    draw: Any
    assignments: list[dict[str, int]]
    dtype: int
    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    values: list[tuple[str, tuple[Size, ...]]] = field(default_factory=list)
    count: int = 0

    def add(self, op_type: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node and returns the name of its output, or names where there are several."""
        names = [f"t{self.count + i}" for i in range(outputs)]
        self.count += outputs
        self.nodes.append(helper.make_node(op_type, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, values: Any, dtype: Any = np.int64) -> str:
        """Returns the name of a new constant."""
        name = f"c{len(self.weights)}"
        self.weights[name] = np.array(values, dtype=dtype)
        return name

    def number(self, low: int, high: int) -> int:
        """Draws an integer."""
        return int(self.draw(st.integers(low, high)))

    def choice(self, options: Sequence[Any]) -> Any:
        """Draws one of several options."""
        return self.draw(st.sampled_from(options))

    def same(self, size: int) -> Size:
        """Returns a size that does not depend on the assignment."""
        return (size,) * len(self.assignments)

    def size_of(self, name: str, axis: int) -> str:
        """Returns a vector of one element with the size of an axis, computed by the graph."""
        sizes = self.add("Shape", [name])
        return self.add("Gather", [sizes, self.constant([axis])], axis=0)

    def sliced(self, name: str, axis: int, start: str, end: str, step: int = 1) -> str:
        """Adds a Slice whose bounds are given by name."""
        return self.add("Slice", [name, start, end, self.constant([axis]), self.constant([step])])


def _slice(p: Program, name: str, shape: tuple[Size, ...]) -> None:
    axis = p.number(0, len(shape) - 1)
    step = p.choice([1, 1, 1, 2, 3, -1, -2])
    size = shape[axis]

    def position(low: int, high: int) -> tuple[str, Size]:
        kind = p.choice(["constant", "constant", "size", "half"])
        if kind == "constant":
            number = p.choice([*range(low, high), _END, -_END])
            return p.constant([number]), p.same(number)
        own = p.size_of(name, axis)
        if kind == "half":
            return p.add("Div", [own, p.constant([2])]), tuple(s // 2 for s in size)
        less = p.number(0, 2)
        return p.add("Sub", [own, p.constant([less])]), tuple(s - less for s in size)

    (start, begins), (end, ends) = position(-4, 4), position(-4, 6)
    result = tuple(len(range(*slice(b, e, step).indices(s))) for s, b, e in zip(size, begins, ends, strict=True))
    p.values.append((p.sliced(name, axis, start, end, step), (*shape[:axis], result, *shape[axis + 1 :])))


def _concat(p: Program, name: str, shape: tuple[Size, ...]) -> None:
    axis = p.number(0, len(shape) - 1)

    def others(other: tuple[Size, ...]) -> tuple[Size, ...]:
        return (*other[:axis], *other[axis + 1 :])

    fitting = [v for v in p.values if len(v[1]) == len(shape) and others(v[1]) == others(shape)]
    parts = [(name, shape), *(p.choice(fitting) for _ in range(p.number(0, 2)))]
    total = tuple(map(sum, zip(*(other[axis] for _, other in parts), strict=True)))
    result = p.add("Concat", [part for part, _ in parts], axis=p.choice([axis, axis - len(shape)]))
    p.values.append((result, (*shape[:axis], total, *shape[axis + 1 :])))


def _pad(p: Program, name: str, shape: tuple[Size, ...]) -> None:
    mode = p.choice(["constant", "edge", "reflect"])
    low = 0 if mode == "reflect" else -2
    pads = [[0, 0] for _ in shape]
    sizes = list(shape)
    axis = p.number(0, len(shape) - 1)
    least = min(shape[axis])
    before, after = p.number(low, 2), p.number(low, 2)
    fits = least + min(before, 0) + min(after, 0) > 0 if mode != "reflect" else least > max(before, after)
    if not fits or (mode != "constant" and any(min(size) == 0 for size in shape)):
        return
    pads[axis] = [before, after]
    sizes[axis] = tuple(size + before + after for size in shape[axis])
    if min(sizes[axis]) < 0:
        return
    inputs = [name, p.constant([b for b, _ in pads] + [a for _, a in pads])]
    if mode == "constant" and p.number(0, 1):
        inputs.append(p.constant(3, helper.tensor_dtype_to_np_dtype(p.dtype)))
    p.values.append((p.add("Pad", inputs, mode=mode), tuple(sizes)))


def _transpose(p: Program, name: str, shape: tuple[Size, ...]) -> None:
    perm = p.draw(st.permutations(range(len(shape))))
    p.values.append((p.add("Transpose", [name], perm=perm), tuple(shape[t] for t in perm)))


def _ones(p: Program, name: str, shape: tuple[Size, ...]) -> None:
    single = [axis for axis, size in enumerate(shape) if size == p.same(1)]
    if single and (len(shape) > 4 or p.number(0, 1)):
        axis = p.choice(single)
        op_type, result = "Squeeze", (*shape[:axis], *shape[axis + 1 :])
    elif len(shape) < 5:
        axis = p.number(0, len(shape))
        op_type, result = "Unsqueeze", (*shape[:axis], p.same(1), *shape[axis:])
    else:
        return
    if p.opset < 13:
        p.values.append((p.add(op_type, [name], axes=[axis]), result))
    else:
        p.values.append((p.add(op_type, [name, p.constant([axis])]), result))


def _expand(p: Program, name: str, shape: tuple[Size, ...]) -> None:
    grown = tuple(p.same(p.number(1, 3)) if size == p.same(1) else size for size in shape)
    target = [size[0] if size == p.same(3) else 1 for size in grown]
    grown = tuple(p.same(3) if t == 3 else size for t, size in zip(target, shape, strict=True))
    if any(t == 3 and size not in (p.same(1), p.same(3)) for t, size in zip(target, shape, strict=True)):
        return
    if p.number(0, 1) and len(shape) < 5:
        target, grown = [2, *target], (p.same(2), *grown)
    p.values.append((p.add("Expand", [name, p.constant(target)]), grown))


def _gather(p: Program, name: str, shape: tuple[Size, ...]) -> None:
    axis = p.number(0, len(shape) - 1)
    least = min(shape[axis])
    if least == 0:
        return
    one = st.integers(-least, least - 1)
    kind = p.choice(["scalar", "vector", "ramp", "matrix"])
    if kind == "scalar":
        index: Any = p.draw(one)
    elif kind == "vector":
        index = p.draw(st.lists(one, min_size=1, max_size=4))
    elif kind == "ramp":
        index = list(range(least))[:: p.choice([1, -1, 2])]
    else:
        index = [[0], [least - 1]]
    extent = tuple(p.same(n) for n in np.shape(index))
    result = (*shape[:axis], *extent, *shape[axis + 1 :])
    if 0 < len(result) < 6:
        p.values.append((p.add("Gather", [name, p.constant(index)], axis=axis), result))


def _split(p: Program, name: str, shape: tuple[Size, ...]) -> None:
    axis = p.number(0, len(shape) - 1)
    size = shape[axis]
    if size != p.same(size[0]) or size[0] < 2:
        return
    first = p.number(0, size[0])
    sizes = [first, size[0] - first]
    if p.opset < 13:
        parts = p.add("Split", [name], 2, axis=axis, split=sizes)
    else:
        parts = p.add("Split", [name, p.constant(sizes)], 2, axis=axis)
    for part, extent in zip(parts, sizes, strict=True):
        p.values.append((part, (*shape[:axis], p.same(extent), *shape[axis + 1 :])))


def _scatter_nd(p: Program, name: str, shape: tuple[Size, ...]) -> None:
    depth = p.number(1, min(2, len(shape)))
    update = name
    ranges = []
    for axis in range(depth):
        least = min(shape[axis])
        if least == 0:
            return
        step = p.choice([1, 1, 1, 2, 3, -1])
        count = p.number(1, -(-least // abs(step)))
        room = least - (count - 1) * abs(step) - 1
        start = p.number(0, room) + (0 if step > 0 else (count - 1) * abs(step))
        ranges.append([start + step * i for i in range(count)])
        begin = p.number(0, least - count)
        update = p.sliced(update, axis, p.constant([begin]), p.constant([begin + count]))
    index = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1)
    result = p.add("ScatterND", [name, p.constant(index), update])
    p.values.append((result, shape))


def _computed_scatter_nd(p: Program, name: str, shape: tuple[Size, ...]) -> None:
    least = min(shape[0])
    if least < 2:
        return
    before = p.number(0, least - 1)
    after = p.number(0, least - 1 - before)
    own = p.size_of(name, 0)
    zero = p.constant([0])
    squeezed = p.add("Gather", [own, p.constant(0)], axis=0)
    rows = p.add("Range", [p.constant(before), p.add("Sub", [squeezed, p.constant(after)]), p.constant(1)])
    target = p.add("Concat", [p.constant([-1]), p.constant([1])], axis=0)
    index = p.add("Reshape", [rows, target])
    shifted = p.number(0, before + after)
    start, end = p.constant([shifted]), p.add("Sub", [own, p.constant([before + after - shifted])])
    update = p.add("Slice", [name, start, end, zero])
    p.values.append((p.add("ScatterND", [name, index, update]), shape))


def _scatter_elements(p: Program, name: str, shape: tuple[Size, ...]) -> None:
    axis = p.number(0, len(shape) - 1)
    least = min(shape[axis])
    if least == 0:
        return
    step = p.choice([1, 1, 2, -1])
    count = p.number(1, -(-least // abs(step)))
    start = p.number(0, least - (count - 1) * abs(step) - 1) + (0 if step > 0 else (count - 1) * abs(step))
    begin = p.number(0, least - count)
    update = p.sliced(name, axis, p.constant([begin]), p.constant([begin + count]))
    row = np.array([start + step * i for i in range(count)])
    row = row.reshape([-1 if t == axis else 1 for t in range(len(shape))])
    index = p.add("Expand", [p.constant(row), p.add("Shape", [update])])
    p.values.append((p.add("ScatterElements", [name, index, update], axis=axis), shape))


def _where(p: Program, name: str, shape: tuple[Size, ...]) -> None:
    axis = p.number(0, len(shape) - 1)
    if p.number(0, 1):
        mask = p.constant([p.number(0, 1)] * len(shape), bool)
        if shape[-1] != p.same(len(shape)):
            mask = p.constant(p.number(0, 1), bool)
    else:
        size = shape[axis]
        if size != p.same(size[0]) or size[0] == 0:
            return
        limit = p.number(0, size[0])
        line = np.arange(size[0]).reshape([-1 if t == axis else 1 for t in range(len(shape))])
        mask = p.add("Less", [p.constant(line), p.constant(limit)])
    other = p.choice([n for n, s in p.values if s == shape])
    p.values.append((p.add("Where", [mask, name, other]), shape))


def _abs(p: Program, name: str, shape: tuple[Size, ...]) -> None:
    p.values.append((p.add("Abs", [name]), shape))


def _identity(p: Program, name: str, shape: tuple[Size, ...]) -> None:
    p.values.append((p.add("Identity", [name]), shape))


_OPERATORS = [
    _slice, _concat, _pad, _transpose, _ones, _expand, _gather, _split, _scatter_nd, _scatter_nd,
    _computed_scatter_nd, _scatter_elements, _where, _abs, _identity,
]  # fmt: skip


@st.composite
def programs(draw: st.DrawFn) -> tuple[onnx.ModelProto, list[dict[str, int]], int]:
    """Draws a model, the sizes of its named dimensions to compare it at, and the least of these sizes."""
    least = draw(st.sampled_from([1, 4]))
    named = draw(st.booleans())
    first = {"H": draw(st.integers(least, 6)), "W": draw(st.integers(least, 6))}
    others = [{"H": least, "W": least + 3}, {"H": least + 4, "W": least + 1}] if named else []
    opset = draw(st.sampled_from([11, 13, 18, 20]))
    dtype = draw(st.sampled_from([TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT64]))
    p = Program(draw, [first, *others], dtype, opset)
    dims: list[Any] = [2, "H", "W", 3] if named else [2, first["H"], first["W"], 3]
    dims = [dims[t] for t in draw(st.permutations(range(4)))][: draw(st.integers(2, 4))]
    shape = tuple(tuple(at[d] if isinstance(d, str) else d for at in p.assignments) for d in dims)
    p.values.append(("x", shape))
    for _ in range(draw(st.integers(1, 9))):
        choices = p.values[-4:]
        name, chosen = draw(st.sampled_from(choices))
        if chosen and max(int(np.prod([size[i] for size in chosen])) for i in range(len(p.assignments))) < 20_000:
            draw(st.sampled_from(_OPERATORS))(p, name, chosen)
    if len(p.values) == 1:
        _identity(p, *p.values[0])
    computed = [name for name, _ in p.values[1:]]
    kept = {computed[-1], *draw(st.lists(st.sampled_from(computed), max_size=2))}
    ranks = {name: len(shape) for name, shape in p.values}
    outputs = [helper.make_tensor_value_info(name, dtype, [None] * ranks[name]) for name in sorted(kept)]
    graph = helper.make_graph(
        p.nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, dims)],
        outputs,
        [numpy_helper.from_array(array, name) for name, array in p.weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return model, p.assignments, least
