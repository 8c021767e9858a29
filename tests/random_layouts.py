"""Random graphs of operators on axes, with Transposes among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

Perm = Sequence[int]


class RandomGraph:
    """A graph that grows by random operators.

    Args:
        seed: Decides everything.
        shape: The shape of the input.
        dtype: Its type.
        dynamic: Whether its first axis has a name instead of a size.
    """

    def __init__(self, seed: int, shape: Sequence[int], dtype: type = np.float32, *, dynamic: bool = False) -> None:
        self.rng = np.random.default_rng(seed)
        self._dtype, self._dynamic = dtype, dynamic
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._shape = tuple(shape)
        self._tensors: list[tuple[str, tuple[int, ...]]] = [("x", self._shape)]

    def model(self, steps: int) -> onnx.ModelProto:
        """Returns the graph after some steps; its outputs are its last tensors."""
        made = [
            self._linear,
            self._norm,
            self._arithmetic,
            self._bias,
            self._slice,
            self._pad,
            self._concat,
            self._split,
        ]
        made += [self._reduce, self._softmax, self._regroup, self._unsqueeze, self._unary, self._rigid, self._twice]
        for step in range(steps):
            grow: Callable[[], None] = self._transpose if step % 3 == 0 else made[self.rng.integers(len(made))]
            grow()
        element = helper.np_dtype_to_tensor_dtype(np.dtype(self._dtype))
        first: list[int | str] = list(self._shape)
        if self._dynamic:
            first[0] = "batch"
        outputs = [helper.make_tensor_value_info(name, element, None) for name, _ in self._tensors[-2:]]
        graph = helper.make_graph(
            self._nodes, "random", [helper.make_tensor_value_info("x", element, first)], outputs, self._weights
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        return onnx.shape_inference.infer_shapes(model)

    def _pick(self, rank: int = 2) -> tuple[str, tuple[int, ...]]:
        fitting = [tensor for tensor in self._tensors[-4:] if len(tensor[1]) >= rank]
        return fitting[self.rng.integers(len(fitting))] if fitting else self._tensors[0]

    def _add(self, op_type: str, inputs: Sequence[str], *shapes: Sequence[int], **attributes: object) -> None:
        names = [f"t{len(self._tensors) + i}" for i in range(len(shapes))]
        self._nodes.append(helper.make_node(op_type, inputs, names, **attributes))
        self._tensors += [(name, tuple(map(int, shape))) for name, shape in zip(names, shapes, strict=True)]

    def _constant(self, array: np.ndarray) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(array, name))
        return name

    def _values(self, *shape: int) -> str:
        return self._constant((self.rng.standard_normal(shape) / 2).astype(self._dtype))

    def _ints(self, *numbers: int) -> str:
        return self._constant(np.array(numbers, np.int64))

    def _axis(self, shape: Sequence[int], first: int = 1) -> int:
        return int(self.rng.integers(min(first, len(shape) - 1), len(shape)))

    def _transpose(self) -> None:
        name, shape = self._pick()
        perm = [0, *(1 + self.rng.permutation(len(shape) - 1)).tolist()]
        self._add("Transpose", [name], [shape[axis] for axis in perm], perm=perm)

    def _linear(self) -> None:
        name, shape = self._pick(3)
        m = int(self.rng.integers(1, 6))
        if self.rng.random() < 0.3 and len(shape) >= 3:
            inputs = [name, self._values(m, shape[1], *[1] * (len(shape) - 2)), self._values(m)]
            if self._dtype is np.float32 and len(shape) <= 5:
                self._add("Conv", inputs, [shape[0], m, *shape[2:]])
            return
        if self.rng.random() < 0.3:
            self._add("MatMul", [self._values(m, shape[-2]), name], [*shape[:-2], m, shape[-1]])
            return
        self._add("MatMul", [name, self._values(shape[-1], m)], [*shape[:-1], m])
        if self.rng.random() < 0.7:
            self._add("Add", [self._tensors[-1][0], self._values(m)], [*shape[:-1], m])

    def _norm(self) -> None:
        name, shape = self._pick()
        scale = self._values(shape[-1])
        self._add("LayerNormalization", [name, scale, scale], shape, axis=-1)

    def _arithmetic(self) -> None:
        name, shape = self._pick()
        others = [other for other, its in self._tensors if its == shape]
        other = others[self.rng.integers(len(others))]
        self._add(str(self.rng.choice(["Add", "Mul", "Sub"])), [name, other], shape)

    def _bias(self) -> None:
        name, shape = self._pick()
        rank = int(self.rng.integers(1, len(shape) + 1))
        sizes = [size if self.rng.random() < 0.5 else 1 for size in shape[len(shape) - rank :]]
        if self._dynamic and rank == len(shape):
            sizes[0] = 1
        operands = [name, self._values(*sizes)]
        self._add("Add", operands if self.rng.random() < 0.5 else operands[::-1], shape)

    def _slice(self) -> None:
        name, shape = self._pick()
        axis = self._axis(shape)
        if shape[axis] < 2:
            return
        start = int(self.rng.integers(0, shape[axis] - 1))
        end = int(self.rng.integers(start + 1, shape[axis] + 1))
        stated = axis - len(shape) if self.rng.random() < 0.5 else axis
        inputs = [name, self._ints(start), self._ints(end), self._ints(stated)]
        self._add("Slice", inputs, [*shape[:axis], end - start, *shape[axis + 1 :]])

    def _pad(self) -> None:
        name, shape = self._pick()
        axis = self._axis(shape)
        pads = [0] * (2 * len(shape))
        pads[axis], pads[len(shape) + axis] = 1, -1 if shape[axis] > 1 else 0
        size = shape[axis] + pads[axis] + pads[len(shape) + axis]
        self._add("Pad", [name, self._ints(*pads)], [*shape[:axis], size, *shape[axis + 1 :]], mode="edge")

    def _concat(self) -> None:
        name, shape = self._pick()
        axis = self._axis(shape)
        other = name
        if self.rng.random() < 0.3 and not self._dynamic:
            other = self._values(*shape)
        self._add("Concat", [name, other], [*shape[:axis], 2 * shape[axis], *shape[axis + 1 :]], axis=axis)

    def _split(self) -> None:
        name, shape = self._pick()
        axis = self._axis(shape)
        if shape[axis] < 2:
            return
        sizes = [1, shape[axis] - 1]
        shapes = [[*shape[:axis], size, *shape[axis + 1 :]] for size in sizes]
        self._add("Split", [name, self._ints(*sizes)], *shapes, axis=axis)

    def _reduce(self) -> None:
        name, shape = self._pick(3)
        axis, keep = self._axis(shape), int(self.rng.integers(0, 2))
        if len(shape) < 3:
            return
        reduced = [*shape[:axis], *[1] * keep, *shape[axis + 1 :]]
        self._add("ReduceMean", [name, self._ints(axis)], reduced, keepdims=keep)

    def _softmax(self) -> None:
        name, shape = self._pick()
        self._add("Softmax", [name], shape, axis=self._axis(shape))

    def _regroup(self) -> None:
        name, shape = self._pick()
        axis = self._axis(shape)
        if axis + 1 < len(shape):
            shape = (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])
        elif shape[axis] % 2 == 0 and len(shape) < 5:
            shape = (*shape[:axis], 2, shape[axis] // 2)
        target = [-1 if self._dynamic else shape[0], *shape[1:]]
        self._add("Reshape", [name, self._ints(*target)], shape)

    def _unsqueeze(self) -> None:
        name, shape = self._pick()
        if len(shape) > 4:
            return
        axis = self._axis(shape)
        self._add("Unsqueeze", [name, self._ints(axis)], [*shape[:axis], 1, *shape[axis:]])

    def _unary(self) -> None:
        name, shape = self._pick()
        self._add(str(self.rng.choice(["Tanh", "Sigmoid", "Abs"])), [name], shape)

    def _rigid(self) -> None:
        name, shape = self._pick()
        self._add("CumSum", [name, self._constant(np.array(1, np.int64))], shape)

    def _twice(self) -> None:
        name, shape = self._pick()
        self._add("Mul", [name, name], shape)
