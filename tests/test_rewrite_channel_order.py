"""Groups of channels to which the same is done are put side by side, in the constants around them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from channel_graphs import DOWN, LEFT, RIGHT, UP, Graph, assert_close, ordered
from rewriting import op_types


def crossed(graph: Graph, data: str, group: int, *, weighted: bool = False) -> str:
    """Four groups of channels, each the sum of two shifts: the same two in the first and the third, and so on."""
    parts = []
    for index, (one, other) in enumerate([(DOWN, RIGHT), (UP, LEFT), (RIGHT, DOWN), (LEFT, UP)]):
        first = graph.shift(data, index * group, group, 8 * group, one)
        second = graph.shift(data, (4 + index) * group, group, 8 * group, other)
        if weighted:
            factors = graph.add("GlobalAveragePool", data)
            bounds = [np.array([bound], np.int64) for bound in (index * group, (index + 1) * group, 1)]
            first = graph.add("Mul", first, graph.add("Slice", factors, *bounds))
        parts.append(graph.add("Add", first, second))
    return graph.add("Concat", *parts, axis=1)


def block(group: int, *, shape: Sequence[int | str], weighted: bool = False) -> onnx.ModelProto:
    graph = Graph(group)
    spread = graph.conv("x", 3, 8 * group)
    mixed = crossed(graph, spread, group, weighted=weighted)
    graph.conv(mixed, 4 * group, 5, name="y")
    return graph.model(shape, "y")


@pytest.mark.parametrize("group", [1, 2, 3])
def test_equal_shifts_become_one(group: int) -> None:
    model = block(group, shape=["N", 3, "H", "W"])
    result, refusals = ordered(model)
    assert (op_types(model)["Pad"], op_types(result)["Pad"]) == (8, 4)
    assert (op_types(model)["Add"], op_types(result)["Add"]) == (4, 2)
    assert not refusals
    for height, width, batch in [(2, 2, 1), (2, 5, 1), (5, 2, 3), (4, 4, 0)]:
        assert_close(model, result, N=batch, H=height, W=width)


def test_a_second_run_changes_nothing() -> None:
    result, _ = ordered(block(2, shape=["N", 3, "H", "W"]))
    again, _ = ordered(result)
    assert op_types(again) == op_types(result)


def test_the_same_graph_comes_out_in_every_run() -> None:
    model = block(2, shape=[1, 3, 4, 5])
    first, second = (ordered(model)[0].SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def linear_right() -> onnx.ModelProto:
    """Channels last: a MatMul with constant weights behind and in front, and a bias in between."""
    graph = Graph(2)
    spread = graph.add("MatMul", "x", graph.rng.standard_normal((3, 16)).astype(np.float32))
    spread = graph.add("Add", spread, graph.rng.standard_normal(16).astype(np.float32))
    parts = []
    for index, (one, other) in enumerate([(1, -1), (-1, 1), (-1, 1), (1, -1)]):
        shifted = []
        for start, step in ((2 * index, one), (8 + 2 * index, other)):
            pads = [0, step, -start, 0, -step, start + 2 - 16]
            shifted.append(graph.add("Pad", spread, np.array(pads, np.int64), mode="edge"))
        parts.append(graph.add("Add", *shifted))
    mixed = graph.add("Concat", *parts, axis=-1)
    graph.add("MatMul", mixed, graph.rng.standard_normal((8, 4)).astype(np.float32), name="y")
    return graph.model(["N", "L", 3], "y")


def linear_left() -> onnx.ModelProto:
    """Channels first: MatMul with the weights on the left, on flattened positions."""
    graph = Graph(2)
    weights = graph.rng.standard_normal((16, 3)).astype(np.float32)
    flat = graph.add("MatMul", weights, graph.add("Reshape", "x", np.array([0, 3, -1], np.int64)))
    spread = graph.add("Reshape", flat, np.array([0, 16, 4, 5], np.int64))
    mixed = graph.add("Reshape", crossed(graph, spread, 2), np.array([0, 8, -1], np.int64))
    graph.add("MatMul", graph.rng.standard_normal((4, 8)).astype(np.float32), mixed, name="y")
    return graph.model(["N", 3, 4, 5], "y")


def pooled() -> onnx.ModelProto:
    """Something else reads the channels, but only their sums."""
    graph = Graph(2)
    spread = graph.conv("x", 3, 16)
    graph.conv(crossed(graph, spread, 2), 8, 5, name="y")
    sums = graph.add("ReduceSum", spread, np.array([2, 3], np.int64), keepdims=0)
    graph.add("Mul", sums, np.arange(16, dtype=np.float32), name="z")
    return graph.model(["N", 3, 4, 5], "y", "z")


SURROUNDINGS = {"channels last": linear_right, "weights on the left": linear_left, "sums read, too": pooled}


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_channels_are_found_in_every_layout(name: str) -> None:
    model = SURROUNDINGS[name]()
    result, refusals = ordered(model)
    assert op_types(result)["Pad"] < op_types(model)["Pad"]
    assert not refusals
    assert_close(model, result, N=3, L=4)


def test_weights_of_every_channel_are_put_in_order_with_it() -> None:
    model = block(2, shape=["N", 3, 4, 5], weighted=True)
    result, _ = ordered(model)
    assert op_types(result)["Pad"] == 8  # a weighted shift and one that is not are not alike
    assert_close(model, result, N=2)


def read_twice() -> tuple[onnx.ModelProto, str]:
    graph = Graph(2)
    spread = graph.conv("x", 3, 4)
    one, other = graph.shift(spread, 0, 2, 4, DOWN), graph.shift(spread, 0, 2, 4, DOWN)
    third = graph.shift(spread, 2, 2, 4, DOWN)
    graph.conv(graph.add("Concat", one, other, third, axis=1), 6, 5, name="y")
    return graph.model([1, 3, 4, 5], "y"), "channels that are read in two places"


def input_itself() -> tuple[onnx.ModelProto, str]:
    graph = Graph(2)
    graph.conv(crossed(graph, "x", 2), 8, 5, name="y")
    return graph.model([1, 16, 4, 5], "y"), "channels in an order that no constant decides"


def read_by_another() -> tuple[onnx.ModelProto, str]:
    graph = Graph(2)
    spread = graph.conv("x", 3, 16)
    graph.conv(crossed(graph, spread, 2), 8, 5, name="y")
    graph.add("Sigmoid", spread, name="z")
    return graph.model([1, 3, 4, 5], "y", "z"), "channels that another operator reads"


def an_output() -> tuple[onnx.ModelProto, str]:
    graph = Graph(2)
    spread = graph.conv("x", 3, 16)
    graph.conv(crossed(graph, spread, 2), 8, 5, name="y")
    return graph.model([1, 3, 4, 5], "y", spread), "channels that are an output"


@pytest.mark.parametrize("make", [read_twice, input_itself, read_by_another, an_output])
def test_what_cannot_be_ordered_is_left_alone_with_the_reason(make) -> None:  # type: ignore[no-untyped-def]
    model, reason = make()
    result, refusals = ordered(model)
    assert [refusal.reason for refusal in refusals] == [reason]
    assert op_types(result) == op_types(model)
    assert_close(model, result)


def test_different_shifts_stay_apart() -> None:
    graph = Graph(2)
    spread = graph.conv("x", 3, 8)
    parts = [graph.shift(spread, 2 * index, 2, 8, to) for index, to in enumerate((DOWN, UP, RIGHT, LEFT))]
    graph.conv(graph.add("Concat", *parts, axis=1), 8, 5, name="y")
    model = graph.model([1, 3, 4, 5], "y")
    result, refusals = ordered(model)
    assert not refusals
    assert op_types(result) == op_types(model)
