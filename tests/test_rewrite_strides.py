"""Assignments with a step: split tensors stay split from one assignment to the next."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from rewriting import check, op_types

FLOAT = TensorProto.FLOAT


class Program:
    """An ONNX graph written like numpy code over slices with a step; ``x`` is its input."""

    def __init__(self, shape: tuple[int, ...], dtype: int = FLOAT) -> None:
        self.shape, self.dtype = shape, dtype
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}

    def constant(self, array: Any, dtype: Any = np.int64) -> str:
        name = f"c{len(self.weights)}"
        self.weights[name] = np.asarray(array, dtype)
        return name

    def add(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], **attributes))
        return name

    def read(self, data: str, *where: slice) -> str:
        """``data[where]``."""
        columns = zip(*((w.start or 0, w.stop or (1 << 62), t, w.step or 1) for t, w in enumerate(where)), strict=True)
        return self.add("Slice", data, *(self.constant(column) for column in columns))

    def write(self, data: str, full: tuple[int, ...], where: tuple[slice, ...], update: str) -> str:
        """``data[where] = update`` in one scatter; the update has the shape of the slice."""
        grid = np.stack(np.meshgrid(*(np.arange(n)[w] for n, w in zip(full, where, strict=True)), indexing="ij"), -1)
        return self.add("ScatterND", data, self.constant(grid), update)

    def model(self, output: str, shape: tuple[int, ...]) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("x", self.dtype, self.shape)],
            [helper.make_tensor_value_info(output, self.dtype, shape)],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _upsampled(shape: tuple[int, int, int, int], step: int, dtype: int = FLOAT) -> onnx.ModelProto:
    """Returns an image whose every ``step``-th pixel, from each of the first, is another multiple of ``x``."""
    n, c, h, w = shape
    p = Program(shape, dtype)
    full = (n, c, h * step, w * step)
    number = helper.tensor_dtype_to_np_dtype(dtype)
    z = p.constant(np.zeros(full), number)
    for row in range(step):
        for column in range(step):
            where = (slice(None), slice(None), slice(row, None, step), slice(column, None, step))
            z = p.write(z, full, where, p.add("Mul", "x", p.constant(2 + row * step + column, number)))
    return p.model(z, full)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 4, 5), (1, 8, 6, 4), (0, 2, 3, 4)])
@pytest.mark.parametrize("step", [2, 3])
def test_images_written_in_steps_along_both_axes_are_one_depth_to_space(
    shape: tuple[int, int, int, int], step: int
) -> None:
    result, report = check(_upsampled(shape, step))
    assert report.scatters_after == 0
    assert op_types(result) == {"Mul": step * step, "Concat": 1, "DepthToSpace": 1} or 1 in shape or 0 in shape


@pytest.mark.parametrize("dtype", [TensorProto.INT32, TensorProto.FLOAT16])
def test_types_without_depth_to_space_get_its_definition(dtype: int) -> None:
    result, report = check(_upsampled((2, 3, 4, 5), 2, dtype))
    assert (report.scatters_after, "DepthToSpace" in op_types(result)) == (0, False)
    assert report.nodes_after == 4 + 4


def test_reading_one_phase_of_what_was_written_needs_no_reshape() -> None:
    p = Program((1, 4, 6, 3))
    keep, even, odd = slice(None), slice(0, None, 2), slice(1, None, 2)
    z = p.write("x", p.shape, (keep, keep, even, keep), p.add("Neg", p.read("x", keep, keep, even)))
    z = p.write(z, p.shape, (keep, keep, odd, keep), p.add("Abs", p.read(z, keep, keep, odd)))
    result, report = check(p.model(z, p.shape))
    assert report.scatters_after == 0
    assert op_types(result)["Reshape"] == 1
    assert report.nodes_after == 8


@pytest.mark.parametrize("size", [1, 2, 3, 129, 200])
def test_a_step_need_not_divide_the_axis(size: int) -> None:
    p = Program((2, size))
    keep, third = slice(None), slice(0, None, 3)
    z = p.write("x", p.shape, (keep, third), p.add("Neg", p.read("x", keep, third)))
    _, report = check(p.model(z, p.shape))
    assert report.scatters_after == 0
    assert report.nodes_after <= 12


def test_many_phases_are_one_gather() -> None:
    result, report = check(written_with_a_large_step(4000))
    assert report.scatters_after == 0
    assert op_types(result)["Gather"] >= 1


def test_too_many_phases_are_refused() -> None:
    _, report = check(written_with_a_large_step(70_000))
    assert report.scatters_after == 1
    assert [refusal.reason for refusal in report.refusals] == ["a step of 100"]


def written_with_a_large_step(size: int) -> onnx.ModelProto:
    p = Program((1, size))
    where = (slice(None), slice(0, None, 100))
    return p.model(p.write("x", p.shape, where, p.add("Neg", p.read("x", *where))), p.shape)


@st.composite
def _programs(draw: Any) -> onnx.ModelProto:
    dtype = draw(st.sampled_from([FLOAT, TensorProto.INT32]))
    rank = draw(st.integers(1, 4))
    shape = tuple(draw(st.integers(1, 7)) for _ in range(rank))
    p = Program(shape, dtype)
    tensors = ["x", p.constant(np.zeros(shape), helper.tensor_dtype_to_np_dtype(dtype))]
    for _ in range(draw(st.integers(1, 5))):
        where = []
        for size in shape:
            step = draw(st.sampled_from([1, 1, 2, 2, 3, 4]))
            start = draw(st.integers(0, size - 1))
            where.append(slice(start if draw(st.booleans()) else start % step, None, step))
        source, target = draw(st.sampled_from(tensors)), draw(st.sampled_from(tensors))
        update = p.read(source, *where)
        if draw(st.booleans()):
            update = p.add("Neg", update)
        tensors.append(p.write(target, shape, tuple(where), update))
        if draw(st.booleans()):
            perm = draw(st.permutations(range(rank)))
            there = p.add("Transpose", tensors[-1], perm=perm)
            tensors.append(p.add("Transpose", there, perm=[perm.index(t) for t in range(rank)]))
    return p.model(p.add("Concat", *tensors[-2:], axis=0), (2 * shape[0], *shape[1:]))


@settings(max_examples=150, derandomize=True, suppress_health_check=list(HealthCheck))
@given(_programs())
def test_random_assignments_with_steps_preserve_every_bit(model: onnx.ModelProto) -> None:
    _, report = check(model)
    assert report.scatters_after == 0
