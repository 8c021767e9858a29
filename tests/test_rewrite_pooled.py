"""Sums over all positions of shifted linear maps become linear maps of sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from channel_graphs import DOWN, LEFT, RIGHT, UP, Graph, assert_close
from onnx_ir.passes import common
from rewriting import op_types

from s2deploy.rewrite import pooled_linear
from s2deploy.rewrite.movement import Rewrite
from s2deploy.rewrite.pooled_linear import pool_first
from s2deploy.rewrite.refusals import Refusal
from s2deploy.rewrite.runtime_costs import COUNTING, ONNXRUNTIME_CPU, RuntimeCosts

CHANNELS, GROUP = 3, 2
FEW = replace(COUNTING, node_ns=1e9, view_ns=0, small_ns=0)
"""Costs by which the fewest operators win, however small the tensors are."""

ANY = replace(FEW, node_ns=0)
"""Costs by which a sum of one reduction wins, too."""

Move = Callable[[Graph, str, int], str]
"""Moves the positions of the channels from some one on."""


def pad(to: Sequence[int], mode: str = "edge") -> Move:
    def moved(graph: Graph, data: str, start: int) -> str:
        top, left, bottom, right = to
        pads = [0, -start, top, left, 0, start + GROUP - 4 * GROUP, bottom, right]
        return graph.add("Pad", data, np.array(pads, np.int64), mode=mode)

    return moved


def cut(graph: Graph, data: str, bounds: Sequence[tuple[int, int, int]]) -> str:
    starts, ends, axes = (np.array(column, np.int64) for column in zip(*bounds, strict=True))
    return graph.add("Slice", data, starts, ends, axes)


def joined_shift(graph: Graph, data: str, start: int) -> str:
    """Shifts down by Slices and a Concat."""
    channels = (start, start + GROUP, 1)
    return graph.add("Concat", *(cut(graph, data, [channels, (*rows, 2)]) for rows in ((0, 1), (0, -1))), axis=2)


def rolled(graph: Graph, data: str, start: int) -> str:
    channels = (start, start + GROUP, 1)
    end = np.iinfo(np.int64).max
    return graph.add("Concat", *(cut(graph, data, [channels, (*rows, 3)]) for rows in ((-1, end), (0, -1))), axis=3)


def kept(graph: Graph, data: str, start: int) -> str:
    return cut(graph, data, [(start, start + GROUP, 1)])


def pooled_map(
    moves: Sequence[Move],
    shape: Sequence[int | str],
    *,
    sum_of: str = "ReduceSum",
    keepdims: int = 0,
    between: str | None = None,
) -> onnx.ModelProto:
    """The sum of the sums over all positions of four groups of a map's channels, each moved in its own way."""
    graph = Graph(CHANNELS)
    spread = graph.conv("x", CHANNELS, len(moves) * GROUP)
    sums = []
    for index, move in enumerate(moves):
        moved = move(graph, spread, index * GROUP)
        moved = graph.add(between, moved) if between else moved
        sums.append(graph.add(sum_of, moved, np.array([2, 3], np.int64), keepdims=keepdims))
    graph.add("Sum", *sums, name="y")
    return graph.model(shape, "y")


@pytest.fixture(autouse=True)
def weights_of_any_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has tensors of a few elements pooled, too, unless a test is about what pays."""
    if "pay" not in request.node.name:
        monkeypatch.setattr(pooled_linear, "_WEIGHTS_SHARE", 0)


def pooled(
    model: onnx.ModelProto, costs: RuntimeCosts = FEW, sizes: dict[str, int] | None = None
) -> tuple[onnx.ModelProto, list[Rewrite], list[Refusal]]:
    graph = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    done, refusals = pool_first(graph.graph, {}, sizes or {}, [costs])
    common.RemoveUnusedNodesPass()(graph)
    common.NameFixPass()(graph)
    result = ir.to_proto(graph)
    onnx.checker.check_model(result, full_check=True)
    return result, done, refusals


SHIFTS = [pad(DOWN), pad(UP), pad(LEFT), pad(RIGHT)]


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("sum_of", ["ReduceSum", "ReduceMean"])
@pytest.mark.parametrize("size", [(2, 2), (2, 5), (7, 3)])
def test_sums_of_shifts_are_sums_of_what_is_mapped(size: tuple[int, int], sum_of: str, keepdims: int) -> None:
    model = pooled_map(SHIFTS, ["N", CHANNELS, *size], sum_of=sum_of, keepdims=keepdims)
    result, done, refusals = pooled(model)
    assert (len(done), refusals) == (1, [])
    assert not op_types(result).keys() & {"Conv", "Pad", "ReduceSum", "ReduceMean", "Sum"}
    for batch in (1, 3, 0):
        assert_close(model, result, N=batch)


@pytest.mark.parametrize(
    "moves",
    [
        [joined_shift, kept, rolled, joined_shift],
        [pad((2, 0, -2, 0)), pad((0, -1, 0, 1)), pad((1, 0, -1, 0), "constant"), kept],
        [pad((1, 1, 1, 1)), pad((1, 2, 1, 0)), pad((2, 1, 0, 1), "constant"), pad((0, 0, 2, 2), "constant")],
        [pad((-1, 0, 0, 0)), pad((0, -1, -1, 0)), pad((0, 0, 0, -2)), pad((-2, 0, 0, 0))],
    ],
    ids=["slices", "further", "larger", "smaller"],
)
def test_every_movement_of_known_positions_counts(moves: list[Move]) -> None:
    model = pooled_map(moves, ["N", CHANNELS, 4, 5])
    result, done, _ = pooled(model)
    assert len(done) == 1
    assert not op_types(result).keys() & {"Conv", "Pad", "Slice", "Concat"}
    assert_close(model, result, N=2)


def test_positions_of_size_one_count_as_often_as_they_are_read() -> None:
    model = pooled_map([joined_shift, kept, rolled, joined_shift], ["N", CHANNELS, 1, 1])
    result, done, _ = pooled(model)
    assert len(done) == 1
    assert_close(model, result, N=2)


def test_unknown_numbers_of_positions_take_sums_over_strips() -> None:
    model = pooled_map([*SHIFTS[:3], pad((2, 0, -2, 0))], ["N", CHANNELS, "H", "W"])
    result, done, refusals = pooled(model)
    assert (len(done), refusals) == (1, [])
    assert not op_types(result).keys() & {"Conv", "Pad", "Sum"}
    for height, width, batch in [(3, 2, 1), (3, 5, 2), (6, 3, 0)]:
        assert_close(model, result, N=batch, H=height, W=width)


def test_channels_may_be_last() -> None:
    graph = Graph(CHANNELS)
    weights = graph.rng.standard_normal((CHANNELS, 2 * GROUP)).astype(np.float32)
    spread = graph.add("Add", graph.add("MatMul", "x", weights), graph.rng.standard_normal(4).astype(np.float32))
    sums = []
    for start, to in ((0, (1, 0, -1, 0)), (GROUP, (0, -1, 0, 1))):
        pads = [0, to[0], to[1], -start, 0, to[2], to[3], start - GROUP]
        moved = graph.add("Pad", spread, np.array(pads, np.int64), mode="edge")
        sums.append(graph.add("ReduceSum", moved, np.array([1, 2], np.int64), keepdims=0))
    graph.add("Add", *sums, name="y")
    model = graph.model(["N", 4, 3, CHANNELS], "y")
    result, done, _ = pooled(model, replace(FEW, left_factor=1e-9))
    assert len(done) == 1
    assert not op_types(result).keys() & {"Pad", "ReduceSum"}
    assert_close(model, result, N=2)


def test_what_others_read_stays_and_is_summed_before_all_the_same() -> None:
    graph = Graph(CHANNELS)
    spread = graph.conv("x", CHANNELS, 4 * GROUP)
    moved = graph.add("Concat", *(move(graph, spread, i * GROUP) for i, move in enumerate(SHIFTS)), axis=1, name="z")
    one = graph.add("ReduceSum", moved, np.array([2, 3], np.int64), keepdims=0)
    other = graph.add("ReduceSum", spread, np.array([2, 3], np.int64), keepdims=0)
    graph.add("Sum", one, other, one, name="y")
    model = graph.model([2, CHANNELS, 4, 5], "y", "z")
    result, done, _ = pooled(model)
    assert not done, "a reduction that is read twice is no part of a sum"
    graph.nodes[-1].input[2] = other
    graph.nodes[-1].input.pop()
    model = graph.model([2, CHANNELS, 4, 5], "y", "z")
    result, done, _ = pooled(model, ANY)
    assert len(done) == 1
    assert (op_types(result)["Pad"], "ReduceSum" in op_types(result)) == (4, False)
    assert_close(model, result)


def test_a_second_run_changes_nothing() -> None:
    result, _, _ = pooled(pooled_map(SHIFTS, [2, CHANNELS, 3, 4]))
    again, done, refusals = pooled(result)
    assert (done, refusals) == ([], [])
    assert again.SerializeToString(deterministic=True) == result.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: pooled_map(SHIFTS, [1, CHANNELS, 3, 4], between="Relu"), "a Relu between the map and the sum"),
        (lambda: pooled_map([rolled, *SHIFTS[:3]], [1, CHANNELS, "H", "W"]), "a Concat between"),
        (lambda: pooled_map(SHIFTS, [1, CHANNELS, "H", "W"], sum_of="ReduceMean"), "unknown number of positions"),
        (lambda: pooled_map([pad((1, 0, 0, 0)), *SHIFTS[:3]], [1, CHANNELS, "H", 4]), "does not keep it"),
        (lambda: pooled_map([pad(DOWN, "reflect"), *SHIFTS[:3]], [1, CHANNELS, 3, 4]), "a Pad between"),
    ],
    ids=["nonlinear", "unknown positions", "unknown mean", "unknown size", "mirrored"],
)
def test_what_is_not_a_sum_of_what_is_mapped_is_refused(model: Callable[[], onnx.ModelProto], reason: str) -> None:
    before = model()
    result, done, refusals = pooled(before)
    assert not done
    assert op_types(result) == op_types(before)
    assert [reason in refusal.reason for refusal in refusals] == [True]


@pytest.mark.parametrize(
    ("size", "is_cut"), [((4, 5), True), ((1, 3), False), (("H", "W"), True)], ids=["cut", "padded", "unknown"]
)
def test_operands_that_are_broadcast_along_positions_are_refused(size: tuple[int | str, ...], is_cut: bool) -> None:
    """One row, added to all the rows of a shift, or of a border."""
    graph = Graph(CHANNELS)
    spread = graph.conv("x", CHANNELS, 4)
    if is_cut:
        one, other = graph.shift(spread, 0, 4, 4, DOWN), cut(graph, spread, [(0, 1, 2)])
    else:
        one, other = graph.add("Pad", spread, np.array([0, 0, 0, 0, 0, 0, 2, 0], np.int64), mode="edge"), spread
    graph.add("ReduceSum", graph.add("Add", one, other), np.array([2, 3], np.int64), name="y")
    model = graph.model([2, CHANNELS, *size], "y")
    result, done, refusals = pooled(model, ANY)
    assert not done
    assert op_types(result) == op_types(model)
    assert [refusal.reason for refusal in refusals] == ["summed where it is: an operand that is broadcast"]


@pytest.mark.parametrize("size", [(4, 5), (1, 2)])
def test_a_bias_behind_the_movement_is_added_once_for_every_position(size: tuple[int, int]) -> None:
    graph = Graph(CHANNELS)
    moved = graph.shift(graph.conv("x", CHANNELS, 4), 1, 3, 4, LEFT)
    biased = graph.add("Add", moved, graph.rng.standard_normal((3, 1, 1)).astype(np.float32))
    graph.add("ReduceSum", biased, np.array([2, 3], np.int64), name="y")
    model = graph.model(["N", CHANNELS, *size], "y")
    result, done, _ = pooled(model, ANY, {"N": 64})
    assert len(done) == 1
    for batch in (0, 1, 3):
        assert_close(model, result, N=batch)


@pytest.mark.parametrize("name", ["pads", "fill"])
def test_what_a_caller_may_override_is_refused(name: str) -> None:
    graph = Graph(CHANNELS)
    pads = np.array([0, 0, 1, 0, 0, 0, -1, 0], np.int64)
    moved = graph.add("Pad", graph.conv("x", CHANNELS, 4), pads, np.float32(0))
    graph.add("ReduceSum", moved, np.array([2, 3], np.int64), name="y")
    model = graph.model([2, CHANNELS, 4, 5], "y")
    assert len(pooled(model, ANY)[1]) == 1
    chosen = model.graph.initializer[2 if name == "pads" else 3]
    model.graph.input.append(onnx.helper.make_tensor_value_info(chosen.name, chosen.data_type, chosen.dims))
    result, done, _ = pooled(model, ANY)
    assert not done
    assert op_types(result) == op_types(model)


def test_a_slice_backwards_from_before_the_first_row_takes_that_row() -> None:
    graph = Graph(CHANNELS)
    bounds = (np.array([bound], np.int64) for bound in (-9, -(1 << 62), 2, -1))
    graph.add("Slice", graph.conv("x", CHANNELS, 4), *bounds, name="r")
    graph.add("ReduceSum", "r", np.array([2, 3], np.int64), name="y")
    model = graph.model([2, CHANNELS, 4, 5], "y")
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, [2, 4, 1, 5]))
    result, done, _ = pooled(model, ANY)
    assert len(done) == 1
    assert_close(model, result)


@pytest.mark.parametrize(
    ("mode", "pads", "reason"),
    [
        ("constant", (4, -3), "a Pad of another size than is stated"),
        ("constant", (-3, 4), "a Pad of another size than is stated"),
        ("edge", (2, -2), "a Pad between the map and the sum"),
    ],
)
def test_a_pad_that_leaves_no_row_is_refused(mode: str, pads: tuple[int, int], reason: str) -> None:
    graph = Graph(CHANNELS)
    numbers = np.array([0, 0, pads[0], 0, 0, 0, pads[1], 0], np.int64)
    moved = graph.add("Pad", graph.conv("x", CHANNELS, 4), numbers, mode=mode)
    graph.add("ReduceSum", moved, np.array([2, 3], np.int64), name="y")
    _, done, refusals = pooled(graph.model([2, CHANNELS, 2, 5], "y"), ANY)
    assert not done
    assert [refusal.reason for refusal in refusals] == [f"summed where it is: {reason}"]


def test_plain_pools_are_none_of_its_business() -> None:
    graph = Graph(CHANNELS)
    graph.add("ReduceMean", graph.conv("x", CHANNELS, 4), np.array([2, 3], np.int64), name="y")
    assert pooled(graph.model([1, CHANNELS, 3, 4], "y"))[1:] == ([], [])
    graph = Graph(CHANNELS)
    graph.add("ReduceSum", graph.shift("x", 0, CHANNELS, CHANNELS, DOWN), np.array([2, 3], np.int64), name="y")
    assert pooled(graph.model([1, CHANNELS, 3, 4], "y"))[1:] == ([], [])


def test_it_does_not_pay_to_make_the_file_larger() -> None:
    assert not pooled(pooled_map(SHIFTS, [64, CHANNELS, 4, 4]), COUNTING)[1]
    assert pooled(pooled_map(SHIFTS, [64, CHANNELS, 32, 32]), COUNTING)[1]


def test_it_has_to_pay() -> None:
    small, large = ([1, CHANNELS, size, size] for size in (2, 64))
    assert not pooled(pooled_map(SHIFTS, small), ONNXRUNTIME_CPU)[1]
    assert pooled(pooled_map(SHIFTS, large), ONNXRUNTIME_CPU)[1]
    unknown = pooled_map(SHIFTS, [1, CHANNELS, "H", "W"])
    assert not pooled(unknown, ONNXRUNTIME_CPU, {"H": 2, "W": 2})[1]
    assert pooled(unknown, ONNXRUNTIME_CPU, {"H": 256, "W": 256})[1]
