"""Chains of assignments: the work and the boxes kept grow with the length, not with its square."""

from __future__ import annotations

import cProfile
import inspect
import pstats
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from channel_graphs import DOWN, LEFT, UP, Graph
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes.common import RemoveUnusedNodesPass
from rewriting import check, op_types
from scatter_chains import nested, rows, shifts

from s2deploy.rewrite import rewrite
from s2deploy.rewrite.channel_order import order_channels
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.linear_parts import split_maps
from s2deploy.rewrite.pooled_linear import pool_first
from s2deploy.rewrite.rules import RULES
from s2deploy.rewrite.runtime_costs import COUNTING, PerElement
from s2deploy.rewrite.tree import Cut, Node

CHAINS = [rows, shifts]


def calls(model: onnx.ModelProto, apply: Callable[[ir.Model], object] = rewrite) -> int:
    """Returns how many function calls a rewrite takes: work, whatever the machine."""
    graph = ir.from_proto(model)
    profile = cProfile.Profile()
    profile.enable()
    apply(graph)
    profile.disable()
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


def pooled(graph: Graph, x: str) -> str:
    y, sums = graph.conv(x, 3, 3), []
    for turn in ((DOWN, UP, DOWN), (UP, DOWN, UP), (LEFT, LEFT, UP)):
        joined = graph.add("Concat", *(graph.shift(y, k, 1, 3, to) for k, to in enumerate(turn)), axis=1)
        sums.append(graph.add("ReduceSum", joined, np.array([2, 3]), keepdims=1))
    return graph.add("Mul", x, graph.add("Sum", *sums))


def ordered(graph: Graph, x: str) -> str:
    y = graph.conv(x, 3, 8)
    moved = [graph.shift(y, 2 * k, 2, 8, to) for k, to in enumerate((DOWN, UP, DOWN, UP))]
    return graph.conv(graph.add("Concat", *moved, axis=1), 8, 3)


def apart(graph: Graph, x: str) -> str:
    y = graph.conv(x, 3, 6)
    return graph.add("Add", graph.shift(y, 0, 3, 6, DOWN), graph.shift(y, 3, 3, 6, UP))


def squares(count: int) -> onnx.ModelProto:
    """Each reads the one before twice."""
    graph = Graph(3)
    last = graph.conv("x", 3, 4)
    for _ in range(count):
        last = graph.add("Mul", last, last)
    return pooled_at_the_end(graph, last)


def gates(count: int) -> onnx.ModelProto:
    """Each reads the one before three times, at different depths."""
    graph = Graph(3)
    last = graph.conv("x", 3, 4)
    for _ in range(count):
        last = graph.add("Add", graph.add("Mul", graph.add("Sigmoid", last), last), last)
    return pooled_at_the_end(graph, last)


def pooled_at_the_end(graph: Graph, last: str) -> onnx.ModelProto:
    graph.add("ReduceMean", last, np.array([2, 3]), keepdims=0, name="y")
    return onnx.shape_inference.infer_shapes(graph.model([1, 3, 4, 4], "y"))


def in_a_row(block: Callable[[Graph, str], str], count: int) -> onnx.ModelProto:
    graph, last = Graph(3), "x"
    for _ in range(count):
        last = block(graph, last)
    return onnx.shape_inference.infer_shapes(graph.model([1, 3, 16, 16], last))


def pool(model: ir.Model) -> object:
    return pool_first(model.graph, {}, {}, [replace(COUNTING, node_ns=1e9, view_ns=0, small_ns=0)])


def order(model: ir.Model) -> object:
    return order_channels(model.graph, {})


def split(model: ir.Model) -> object:
    return split_maps(model.graph, {}, {}, [replace(COUNTING, node_ns=0, reread=PerElement(1, 2))])


def nodes_of(root: Node, seen: set[int]) -> int:
    """Returns the references a tree keeps, those already seen left out."""
    if id(root) in seen:
        return 0
    seen.add(id(root))
    if not isinstance(root, Cut):
        return 1
    return len(root.children) + sum(nodes_of(child, seen) for child in root.children)


@pytest.mark.parametrize("chain", CHAINS)
def test_work_grows_with_the_length(chain: Callable[[int], onnx.ModelProto]) -> None:
    assert calls(chain(160)) <= 2.5 * calls(chain(80))


@pytest.mark.parametrize(
    ("block", "apply", "op_type", "left"),
    [(pooled, pool, "ReduceSum", 0), (ordered, order, "Pad", 2), (apart, split, "Conv", 2)],
)
def test_work_grows_with_the_blocks(
    block: Callable[[Graph, str], str], apply: Callable[[ir.Model], object], op_type: str, left: int
) -> None:
    model = ir.from_proto(in_a_row(block, 20))
    apply(model)
    RemoveUnusedNodesPass()(model)
    assert op_types(ir.to_proto(model))[op_type] == 20 * left
    assert calls(in_a_row(block, 40), apply) <= 2.2 * calls(in_a_row(block, 20), apply)


def branches(count: int) -> onnx.ModelProto:
    """Returns a model in which every addition has an If behind it that shifts its result or leaves it."""
    nodes = []
    for k in range(count):
        nodes.append(helper.make_node("Add", [f"y{k}", f"y{k}"], [f"s{k}"]))
        bodies = []
        for name, body in (
            ("a", [("Slice", [f"s{k}", "zero", "end"], "u"), ("ScatterND", [f"s{k}", "i", "u"], "v")]),
            ("b", [("Identity", [f"s{k}"], "v")]),
        ):
            inner = [helper.make_node(op_type, inputs, [f"{name}{output}{k}"]) for op_type, inputs, output in body]
            for node in inner:
                node.input[:] = [f"{name}u{k}" if given == "u" else given for given in node.input]
            output = helper.make_tensor_value_info(f"{name}v{k}", TensorProto.FLOAT, None)
            bodies.append(helper.make_graph(inner, f"{name}{k}", [], [output]))
        nodes.append(helper.make_node("If", ["c"], [f"y{k + 1}"], then_branch=bodies[0], else_branch=bodies[1]))
    given = [
        helper.make_tensor_value_info("y0", TensorProto.FLOAT, ["N", 4]),
        helper.make_tensor_value_info("c", TensorProto.BOOL, [1]),
    ]
    wanted = [helper.make_tensor_value_info(f"y{count}", TensorProto.FLOAT, None)]
    constants = {"i": np.array([[1], [2]]), "zero": np.array([0]), "end": np.array([2])}
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "branches", given, wanted, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_work_grows_with_the_bodies() -> None:
    assert calls(branches(80)) <= 2.2 * calls(branches(40))


@pytest.mark.parametrize(
    ("chain", "count"), [(squares, 8), (gates, 5)], ids=lambda value: getattr(value, "__name__", "")
)
def test_work_does_not_multiply_with_what_is_read_several_times(
    chain: Callable[[int], onnx.ModelProto], count: int
) -> None:
    assert calls(chain(2 * count), pool) <= 6 * calls(chain(count), pool)


@pytest.mark.parametrize("chain", CHAINS)
def test_what_is_kept_grows_with_the_length(chain: Callable[[int], onnx.ModelProto]) -> None:
    def kept(count: int) -> int:
        facts = Interpretation(ir.from_proto(chain(count)).graph, {}, RULES)
        seen: set[int] = set()
        return sum(nodes_of(tiling.root, seen) for tiling in facts._tilings.values())

    assert kept(160) <= 2.5 * kept(80)


@pytest.mark.parametrize("chain", CHAINS)
def test_the_result_is_right(chain: Callable[[int], onnx.ModelProto]) -> None:
    result, report = check(chain(40))
    assert report.scatters_after == 0
    assert op_types(result)["Concat"] <= 1


def test_assignments_within_each_other() -> None:
    _, report = check(nested(12))
    assert report.scatters_after == 0


def test_assignments_too_deep_for_one_tree() -> None:
    limit = sys.getrecursionlimit()
    model = ir.from_proto(nested(50))
    try:
        sys.setrecursionlimit(len(inspect.stack()) + 150)
        report = rewrite(model)
    finally:
        sys.setrecursionlimit(limit)
    assert report.scatters_after <= 2
    assert all("too deeply" in refusal.reason for refusal in report.refusals)
    assert len(report.refusals) == report.scatters_after


def test_a_repeated_shift_ends_in_one_row() -> None:
    result, _ = check(shifts(30, size=8))
    assert op_types(result) == {"Slice": 1, "Expand": 1}
    assert not any(np.prod(tensor.dims) > 8 for tensor in result.graph.initializer)
