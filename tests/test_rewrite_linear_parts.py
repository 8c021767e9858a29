"""Linear maps whose results are read in pieces of their channels become one map for each piece."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from channel_graphs import DOWN, UP, Graph, assert_close
from onnx_ir.passes import common
from rewriting import op_types

from s2deploy.rewrite.linear_parts import split_maps
from s2deploy.rewrite.movement import Rewrite
from s2deploy.rewrite.runtime_costs import COUNTING, ONNXRUNTIME_CPU, PerElement, RuntimeCosts

CHANNELS = 3
FREE = replace(COUNTING, node_ns=0, reread=PerElement(1, 2))
"""Costs by which every part is computed by itself."""


def read_apart(graph: Graph, data: str) -> onnx.ModelProto:
    """Two shifts of two channels each, three channels as they are, and one that nothing reads."""
    graph.shift(data, 0, 2, 8, DOWN)
    graph.nodes[-1].output[0] = "a"
    graph.shift(data, 2, 2, 8, UP)
    graph.nodes[-1].output[0] = "b"
    graph.cut(data, 4, 7, name="c")
    return graph.model(["N", CHANNELS, "H", "W"], "a", "b", "c")


def split(
    model: onnx.ModelProto, *costs: RuntimeCosts, sizes: dict[str, int] | None = None
) -> tuple[onnx.ModelProto, list[Rewrite]]:
    graph = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    done = split_maps(graph.graph, {}, sizes or {}, costs or (FREE,))
    common.RemoveUnusedNodesPass()(graph)
    common.NameFixPass()(graph)
    result = ir.to_proto(graph)
    onnx.checker.check_model(result, full_check=True)
    return result, done


def weights_of(model: onnx.ModelProto) -> set[tuple[int, ...]]:
    return {tuple(tensor.dims) for tensor in model.graph.initializer if len(tensor.dims) > 1}


def test_every_piece_has_a_map_of_its_own() -> None:
    graph = Graph(CHANNELS)
    model = read_apart(graph, graph.conv("x", CHANNELS, 8))
    result, done = split(model)
    assert [(one.before, one.after) for one in done] == [({"Conv": 1, "Pad": 2, "Slice": 1}, {"Conv": 3, "Pad": 2})]
    assert op_types(result) == {"Conv": 3, "Pad": 2}
    assert weights_of(result) == {(2, CHANNELS, 1, 1), (3, CHANNELS, 1, 1)}
    for height, width, batch in [(2, 2, 1), (2, 5, 3), (7, 3, 0)]:
        assert_close(model, result, N=batch, H=height, W=width)


def test_where_only_copies_cost_what_is_moved_stays_together() -> None:
    graph = Graph(CHANNELS)
    model = read_apart(graph, graph.conv("x", CHANNELS, 8))
    result, _ = split(model, replace(FREE, reread=PerElement(0, 0), node_ns=1e-9))
    assert op_types(result) == {"Conv": 2, "Pad": 2}
    assert weights_of(result) == {(4, CHANNELS, 1, 1), (3, CHANNELS, 1, 1)}
    assert_close(model, result, N=2, H=4, W=3)


@pytest.mark.parametrize("form", ["MatMul", "left MatMul", "transposed"])
def test_products_are_split_like_convolutions(form: str) -> None:
    graph = Graph(CHANNELS)
    weights = graph.rng.standard_normal((CHANNELS, 6)).astype(np.float32)
    bias = graph.rng.standard_normal(6).astype(np.float32)
    if form == "left MatMul":
        data = graph.add("Add", graph.add("MatMul", np.ascontiguousarray(weights.T), "x"), bias[:, None])
    elif form == "MatMul":
        data = graph.add("Add", graph.add("MatMul", "x", weights), bias)
    else:
        factor = graph.add("Transpose", np.ascontiguousarray(weights.T), perm=[1, 0])
        data = graph.add("Add", graph.add("MatMul", "x", factor), bias)
    axis = 1 if form == "left MatMul" else 2
    graph.add("Split", data, np.array([1, 3, 2], np.int64), axis=axis, name="a")
    graph.nodes[-1].output.extend(["b", "c"])
    shape = ["N", CHANNELS, 5] if form == "left MatMul" else ["N", 5, CHANNELS]
    model = graph.model(shape, "a", "b", "c")
    result, done = split(model)
    assert len(done) == 1
    assert op_types(result) == {"MatMul": 3, "Add": 3}
    for batch in (1, 2, 0):
        assert_close(model, result, N=batch)


def test_pieces_that_overlap_share_a_map() -> None:
    graph = Graph(CHANNELS)
    data = graph.conv("x", CHANNELS, 8)
    outputs = [graph.cut(data, *bounds, name=name) for bounds, name in (((0, 3), "a"), ((1, 5), "b"), ((5, 8), "c"))]
    model = graph.model(["N", CHANNELS, "H", "W"], *outputs)
    result, _ = split(model)
    assert op_types(result) == {"Conv": 2, "Slice": 2}
    assert_close(model, result, N=2, H=3, W=4)


def test_slices_of_positions_as_well_stay_slices_of_positions() -> None:
    graph = Graph(CHANNELS)
    data = graph.conv("x", CHANNELS, 8)
    bounds = [np.array(numbers, np.int64) for numbers in ([4, -1], [8, -(1 << 62)], [1, 3], [1, -1])]
    outputs = [graph.cut(data, 0, 4, name="a"), graph.add("Slice", data, *bounds, name="b")]
    model = graph.model(["N", CHANNELS, "H", "W"], *outputs)
    result, _ = split(model)
    assert op_types(result) == {"Conv": 2, "Slice": 1}
    assert_close(model, result, N=2, H=3, W=4)


def test_a_second_run_changes_nothing() -> None:
    graph = Graph(CHANNELS)
    result, _ = split(read_apart(graph, graph.conv("x", CHANNELS, 8)))
    again, done = split(result)
    assert not done
    assert again.SerializeToString(deterministic=True) == result.SerializeToString(deterministic=True)


def read_whole(graph: Graph, data: str) -> list[str]:
    return [graph.cut(data, 0, 3, name="a"), graph.add("Relu", data, name="b")]


def read_shown(graph: Graph, data: str) -> list[str]:
    return [graph.cut(data, 0, 3, name="a"), data]


def read_stepwise(graph: Graph, data: str) -> list[str]:
    bounds = [np.array([bound], np.int64) for bound in (0, 8, 1, 2)]
    return [graph.add("Slice", data, *bounds, name="a")]


def read_along_another_axis(graph: Graph, data: str) -> list[str]:
    graph.add("Split", data, axis=2, num_outputs=2, name="a")
    graph.nodes[-1].output.append("b")
    return ["a", "b"]


def read_nothing(graph: Graph, data: str) -> list[str]:
    return [graph.cut(data, 3, 3, name="a")]


def read_at_once(graph: Graph, data: str) -> list[str]:
    return [graph.cut(data, 1, 5, axis=2, name="a")]


@pytest.mark.parametrize(
    "read",
    [read_whole, read_shown, read_stepwise, read_along_another_axis, read_at_once, read_nothing],
    ids=lambda read: read.__name__,
)
def test_results_that_are_read_otherwise_stay(read: Callable[[Graph, str], list[str]]) -> None:
    graph = Graph(CHANNELS)
    outputs = read(graph, graph.conv("x", CHANNELS, 8))
    model = graph.model([1, CHANNELS, 6, 6], *outputs)
    result, done = split(model)
    assert not done
    assert op_types(result) == op_types(model)


def test_a_sum_of_two_tensors_is_no_piece() -> None:
    """A product along the first axis, which is also the one that a Split cuts unless told otherwise."""
    graph = Graph(CHANNELS)
    product = graph.add("MatMul", graph.rng.standard_normal((6, 6)).astype(np.float32), "x")
    joined = graph.add("Add", product, "x")
    outputs = [graph.cut(joined, 0, 3, axis=0, name="a"), graph.cut(joined, 3, 6, axis=0, name="b")]
    model = graph.model([6, 5], *outputs)
    result, done = split(model)
    assert not done
    assert op_types(result) == op_types(model)


@pytest.mark.parametrize("moved", ["Slice", "Pad"])
def test_bounds_that_a_caller_may_override_are_not_built_in(moved: str) -> None:
    graph = Graph(CHANNELS)
    data = graph.conv("x", CHANNELS, 8)
    part = graph.cut(data, 0, 3) if moved == "Slice" else graph.shift(data, 0, 3, 8, DOWN)
    model = graph.model([1, CHANNELS, 6, 6], part)
    bounds = model.graph.initializer[2]
    model.graph.input.append(onnx.helper.make_tensor_value_info(bounds.name, bounds.data_type, bounds.dims))
    result, done = split(model)
    assert not done
    assert op_types(result) == op_types(model)


@pytest.mark.parametrize(
    ("costs", "size", "maps"),
    [
        ([ONNXRUNTIME_CPU], 4, 2),
        ([ONNXRUNTIME_CPU], 512, 3),
        ([COUNTING], 512, 2),
        ([COUNTING, ONNXRUNTIME_CPU], 512, 2),
    ],
)
def test_what_is_moved_is_computed_apart_where_memory_is_far(costs: list[RuntimeCosts], size: int, maps: int) -> None:
    graph = Graph(CHANNELS)
    model = read_apart(graph, graph.conv("x", CHANNELS, 8))
    result, _ = split(model, *costs, sizes={"N": 1, "H": size, "W": size})
    assert op_types(result)["Conv"] == maps
