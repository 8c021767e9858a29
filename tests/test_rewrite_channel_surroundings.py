"""What else reads channels, or decides them, keeps the order it had."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from channel_graphs import Graph, assert_close, ordered
from onnx import TensorProto, helper
from rewriting import op_types, session

Made = tuple[onnx.ModelProto, str]
SMALL = "channels that another operator reads"
UNDECIDED = "channels in an order that no constant decides"


def alternating(graph: Graph, data: str, axis: int = 1, size: int = 2) -> str:
    """Four groups of channels: the first and the third are treated alike, and the second and the fourth."""
    parts = [graph.cut(data, size * k, size * (k + 1), axis) for k in range(4)]
    activated = [graph.add(op_type, part) for op_type, part in zip(("Relu", "Tanh") * 2, parts, strict=True)]
    return graph.add("Concat", *activated, axis=axis)


def weights(graph: Graph, *shape: int) -> np.ndarray:
    return graph.rng.standard_normal(shape).astype(np.float32)


def map_that_is_an_output() -> Made:
    graph = Graph(3)
    spread = graph.conv("x", 3, 8, name="f")
    flat = graph.add("Reshape", spread, np.array([1, 8, 30]))
    graph.add("MatMul", weights(graph, 5, 8), alternating(graph, flat), name="y")
    return graph.model([1, 3, 5, 6], "y", "f"), UNDECIDED


def product_that_is_an_output() -> Made:
    graph = Graph(3)
    spread = graph.add("MatMul", "x", weights(graph, 3, 8), name="f")
    spread = graph.add("Add", spread, weights(graph, 8))
    graph.add("MatMul", alternating(graph, spread, axis=2), weights(graph, 8, 5), name="y")
    return graph.model([1, 6, 3], "y", "f"), UNDECIDED


def one_channel_for_all() -> Made:
    graph = Graph(3)
    spread = graph.add("Add", graph.conv("x", 3, 1), weights(graph, 1, 8, 1, 1))
    graph.conv(alternating(graph, spread), 8, 5, name="y")
    return graph.model([1, 3, 5, 6], "y"), UNDECIDED


def summed(axes: Sequence[int], keepdims: int) -> Made:
    """Sums that have as many elements along the axis of the channels as there are channels."""
    graph = Graph(3)
    spread = graph.conv("x", 3, 8)
    graph.add("Relu", graph.add("ReduceSum", spread, np.array(axes), keepdims=keepdims), name="z")
    graph.conv(alternating(graph, spread), 8, 5, name="y")
    return graph.model([1, 3, 8, 4], "y", "z"), SMALL


def read_in_a_branch() -> Made:
    graph = Graph(3)
    spread = graph.conv("x", 3, 8)
    graph.conv(alternating(graph, spread), 8, 5, name="y")
    positive = graph.add("Cast", graph.add("ReduceMax", "x", keepdims=0), to=TensorProto.BOOL)
    branches = {}
    for branch, op_type in (("then_branch", "Relu"), ("else_branch", "Tanh")):
        axes = helper.make_tensor(f"{branch}_axes", TensorProto.INT64, [2], [2, 3])
        summed = helper.make_node("ReduceSum", [spread, axes.name], [f"{branch}_sum"])
        activated = helper.make_node(op_type, summed.output, [op_type])
        result, inner = (
            helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 8, 1, 1]) for n in (op_type, *summed.output)
        )
        branches[branch] = helper.make_graph([summed, activated], branch, [], [result], [axes], value_info=[inner])
    graph.add("If", positive, name="z", **branches)
    return graph.model([1, 3, 5, 6], "y", "z"), SMALL


MADE = {
    "map that is an output": map_that_is_an_output,
    "product that is an output": product_that_is_an_output,
    "one channel for all": one_channel_for_all,
    "sums of the channels": lambda: summed([1], 0),
    "sums of channels and positions": lambda: summed([1, 3], 0),
    "sums of all channels": lambda: summed([1], 1),
    "read in a branch": read_in_a_branch,
}


@pytest.mark.parametrize("name", MADE)
def test_channels_that_others_need_as_they_are_stay(name: str) -> None:
    model, reason = MADE[name]()
    result, refusals = ordered(model)
    assert [refusal.reason for refusal in refusals] == [reason]
    assert op_types(result) == op_types(model)
    assert_close(model, result)


@pytest.mark.parametrize("op_type", ["Sigmoid", "Conv"])
def test_a_split_of_which_another_reads_a_part_stays(op_type: str) -> None:
    graph = Graph(3)
    parts = graph.split(graph.conv("x", 3, 10), [2] * 5)
    if op_type == "Conv":
        graph.conv(parts[0], 2, 4, name="z")
    else:
        graph.add(op_type, parts[0], name="z")
    activated = [graph.add(kind, part) for kind, part in zip(("Relu", "Tanh") * 2, parts[1:], strict=True)]
    graph.conv(graph.add("Concat", *activated, axis=1), 8, 5, name="y")
    model = graph.model(["N", 3, 4, 5], "y", "z")
    result, refusals = ordered(model)
    assert [refusal.reason for refusal in refusals] == [SMALL]
    assert op_types(result) == op_types(model)
    assert_close(model, result, N=2)


@pytest.mark.parametrize("unread", [False, True], ids=["all read", "one unread"])
def test_a_split_that_nothing_else_reads_is_seen_through(unread: bool) -> None:
    graph = Graph(3)
    first, *parts = graph.split(graph.conv("x", 3, 8), [2, 2, 2, 2])
    kinds = ("Relu", "Tanh", "Relu", *(() if unread else ("Tanh",)))
    read = parts if unread else [first, *parts]
    activated = [graph.add(kind, part) for kind, part in zip(kinds, read, strict=True)]
    graph.conv(graph.add("Concat", *activated, axis=1), 2 * len(kinds), 5, name="y")
    model = graph.model(["N", 3, 4, 5], "y")
    result, refusals = ordered(model)
    assert not refusals
    assert sum(op_types(result)[kind] for kind in ("Relu", "Tanh")) == 2
    for batch in (0, 1, 3):
        assert_close(model, result, N=batch)


@pytest.mark.parametrize("is_output", [False, True], ids=["read once", "an output"])
def test_a_reshape_is_seen_through_where_one_node_reads_it(is_output: bool) -> None:
    graph = Graph(3)
    flat = graph.add("Reshape", alternating(graph, graph.conv("x", 3, 8)), np.array([1, 8, 30]), name="f")
    graph.add("MatMul", weights(graph, 5, 8), flat, name="y")
    model = graph.model([1, 3, 5, 6], *("y", "f")[: 1 + is_output])
    result, refusals = ordered(model)
    assert not refusals
    assert (op_types(result) == op_types(model)) == is_output
    assert_close(model, result)


def test_a_reshape_that_does_not_keep_the_channels_stays() -> None:
    graph = Graph(3)
    joined = graph.add("Concat", graph.add("Relu", "x"), graph.add("Tanh", "x"), axis=1)
    graph.add("MatMul", weights(graph, 5, 4), graph.add("Reshape", joined, np.array([2, 3, 4, 2])), name="y")
    model = graph.model([6, 4], "y")
    result, refusals = ordered(model)
    assert not refusals
    assert op_types(result) == op_types(model)


def test_sums_over_positions_are_ordered_back() -> None:
    model, _ = summed([3], 1)
    result, refusals = ordered(model)
    assert not refusals
    assert op_types(result)["Gather"] == 1
    assert_close(model, result)


OVERRIDDEN = {"weights": 0, "bias": 1, "bounds": 2, "weights of the reader": -2}


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_what_a_caller_may_override_is_not_built_in(name: str) -> None:
    graph = Graph(3)
    graph.conv(alternating(graph, graph.conv("x", 3, 8)), 8, 5, name="y")
    model = graph.model([1, 3, 4, 5], "y")
    chosen = model.graph.initializer[OVERRIDDEN[name]]
    model.graph.input.append(helper.make_tensor_value_info(chosen.name, chosen.data_type, chosen.dims))
    result, _ = ordered(model)
    assert op_types(result)["Tanh"] == 2
    given = {"x": weights(graph, 1, 3, 4, 5)}
    if chosen.data_type == TensorProto.FLOAT:
        given[chosen.name] = weights(graph, *chosen.dims)
    (expected,), (actual,) = session(model).run(None, given), session(result).run(None, given)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("start", [0, 2], ids=["in order", "exchanged"])
def test_channels_that_are_only_joined_again_are_read_where_they_are(start: int) -> None:
    """An input keeps its name."""
    graph = Graph(4)
    parts = [graph.cut("x", k, k + 2) for k in (start, 2 - start)]
    graph.conv(graph.add("Concat", *parts, axis=1), 4, 5, name="y")
    model = graph.model(["N", 4, 1, 1], "y")
    result, refusals = ordered(model)
    assert not refusals
    assert op_types(result) == ({"Conv": 1, "Gather": 1} if start else {"Conv": 1})
    assert [value.name for value in result.graph.input] == ["x"]
    assert_close(model, result, N=2)


def joined_sums(graph: Graph, terms: Sequence[Sequence[str]]) -> str:
    return graph.add("Concat", *(graph.add("Add", *term) if len(term) > 1 else term[0] for term in terms), axis=1)


def test_terms_that_all_groups_have_are_added_to_all_at_once() -> None:
    graph = Graph(3)
    a, b = graph.conv("x", 3, 8), graph.conv("x", 3, 8)
    terms = []
    for k, kind in enumerate(("Relu", "Tanh", "Relu", "Tanh")):
        terms.append((graph.cut(a, 2 * k, 2 * k + 2), graph.add(kind, graph.cut(b, 2 * k, 2 * k + 2))))
    graph.conv(joined_sums(graph, terms), 8, 5, name="y")
    model = graph.model(["N", 3, 4, 5], "y")
    result, _ = ordered(model)
    assert (op_types(result)["Add"], op_types(result)["Relu"], op_types(result)["Tanh"]) == (1, 1, 1)
    assert_close(model, result, N=2)


@pytest.mark.parametrize("other", ["nothing", "a number", "one element a channel", "positions"])
def test_groups_without_a_whole_term_of_their_own_keep_the_common_one(other: str) -> None:
    """Every second group adds nothing to the common term, or what is broadcast along channels or positions."""
    graph = Graph(3)
    a, b = graph.conv("x", 3, 8), graph.conv("x", 3, 4)
    shared = {
        "nothing": list,
        "a number": lambda: [graph.add("Neg", weights(graph, 1, 1, 1, 1))],
        "one element a channel": lambda: [weights(graph, 1, 2, 1, 1)],
        "positions": lambda: [graph.add("Neg", weights(graph, 1, 1, 4, 5))],
    }[other]()
    terms = []
    for k in range(4):
        common = graph.add("Relu", graph.cut(a, 2 * k, 2 * k + 2))
        own = [graph.add("Tanh", graph.cut(b, k - 1, k + 1))] if k % 2 else shared
        terms.append((common, *own))
    graph.conv(joined_sums(graph, terms), 8, 5, name="y")
    model = graph.model(["N", 3, 4, 5], "y")
    result, refusals = ordered(model)
    assert not refusals
    assert op_types(result)["Tanh"] == 1
    assert_close(model, result, N=2)
    stated = {value.name: value.type.tensor_type.shape.dim for value in result.graph.value_info}
    sums = [stated[node.output[0]] for node in result.graph.node if node.op_type == "Add"]
    assert all(dims[0].dim_param == "N" and [size.dim_value for size in dims[2:]] == [4, 5] for dims in sums)
