"""Assignments to constant cells in no order become one Gather; those with a pattern stay slices."""

from __future__ import annotations

import time

import numpy as np
import onnx_ir as ir
import pytest
from onnx import numpy_helper
from rewriting import check, op_types, rewritten
from small_models import make

from s2deploy.rewrite import rewrite

AROUND = "t = Transpose<perm = [2, 0, 1]>(f) s = ScatterND({data}, cells, t) y = Transpose<perm = [2, 3, 0, 1]>(s)"


def cells(side: tuple[int, int], count: int, *, negative: bool = False) -> np.ndarray:
    """Returns distinct cells in random order."""
    chosen = np.random.default_rng(0).permutation(side[0] * side[1])[:count]
    found = np.stack([chosen // side[1], chosen % side[1]], -1)
    return found - np.array(side) if negative else found


def view(found: np.ndarray, side: tuple[int, int] = (8, 9), kind: str = "float", batch: int | str = "b"):
    """Returns a model that fills cells of an input."""
    h, w = side
    return make(
        f"({kind}[{batch},3,{len(found)}] f, {kind}[{h},{w},{batch},3] x) => ({kind}[{batch},3,{h},{w}] y)",
        AROUND.format(data="x"),
        {"cells": found},
    )


@pytest.mark.parametrize("kind", ["float", "float16", "int64", "bool"])
@pytest.mark.parametrize("negative", [False, True])
def test_cells_in_no_order_are_one_gather(kind: str, negative: bool) -> None:
    result, report = check(view(cells((8, 9), 25, negative=negative), kind=kind), {"b": 1}, {"b": 2}, {"b": 5})
    assert op_types(result)["Gather"] == 1
    assert report.scatters_after == 0
    assert report.refusals == []
    assert len(result.graph.node) <= 6


def test_cells_of_zeros_are_one_more_row() -> None:
    body = (
        "b = Shape<start = 0, end = 1>(f) shape = Concat<axis = 0>(eight, nine, b, three) z = ConstantOfShape(shape) "
    )
    sizes = {name: np.array([size]) for name, size in (("eight", 8), ("nine", 9), ("three", 3))}
    signature = "(float[b,3,25] f) => (float[b,3,8,9] y)"
    model = make(signature, body + AROUND.format(data="z"), {"cells": cells((8, 9), 25), **sizes})
    result, _ = check(model, {"b": 1}, {"b": 2}, {"b": 5})
    assert op_types(result) == {"Transpose": 2, "Pad": 1, "Gather": 1, "Reshape": 1}


def test_all_cells_are_a_permutation() -> None:
    result, _ = check(view(cells((8, 9), 72)), {"b": 1}, {"b": 3})
    assert op_types(result) == {"Transpose": 2, "Gather": 1, "Reshape": 1}


def test_rows_along_one_axis_need_no_reshape() -> None:
    rows = np.random.default_rng(0).permutation(64)[:40, None]
    model = make("(float[64,c] x, float[40,c] u) => (float[64,c] y)", "y = ScatterND(x, rows, u)", {"rows": rows})
    result, _ = check(model, {"c": 1}, {"c": 4})
    assert op_types(result) == {"Concat": 1, "Gather": 1}


def test_cells_in_order_stay_slices() -> None:
    rows = np.stack(np.meshgrid(np.arange(2, 6), np.arange(3, 8), indexing="ij"), -1).reshape(-1, 2)
    result, report = check(view(rows), {"b": 1}, {"b": 2})
    assert report.scatters_after == 0
    assert not op_types(result)["Gather"]


@pytest.mark.parametrize(
    "found",
    [
        np.concatenate([cells((8, 9), 25), cells((8, 9), 25)[:1]]),
        np.concatenate([cells((8, 9), 25), [[8, 0]]]),
    ],
    ids=["a cell twice", "outside"],
)
def test_cells_that_are_not_distinct_or_inside_are_not_gathered(found: np.ndarray) -> None:
    result, report = rewritten(view(found))
    assert not op_types(result)["Gather"]
    assert bool(report.refusals) == bool(report.scatters_after)


def test_many_cells_that_are_not_distinct_say_so() -> None:
    found = cells((16, 16), 120)
    _, report = rewritten(view(np.concatenate([found, found[:1]]), (16, 16)))
    assert [refusal.reason for refusal in report.refusals] == ["the indices follow no simple pattern"]


def test_thousands_of_cells_take_no_time() -> None:
    side = (128, 128)
    model = view(cells(side, 12000), side, batch=1)
    start = time.perf_counter()
    result, report = rewritten(model)
    assert time.perf_counter() - start < 20
    assert report.scatters_after == 0
    assert len(result.graph.node) <= 6


@pytest.mark.parametrize("batch", ["b", 3])
def test_diagonals_are_gathered_too(batch: int | str) -> None:
    body = "c = Concat<axis = -1>(i, i) y = ScatterND(x, c, u)"
    model = make(
        f"(float[5,6,{batch}] x, float[5,{batch}] u) => (float[5,6,{batch}] y)", body, {"i": np.arange(5)[:, None]}
    )
    result, report = check(model, {"b": 1}, {"b": 4})
    assert report.scatters_after == 0
    assert op_types(result) == {"Reshape": 2, "Concat": 1, "Gather": 1}


def test_diagonals_of_unknown_size_stay() -> None:
    model = make(
        "(float[n,n] x, int64[5,1] i, float[5] u) => (float[n,n] y)",
        "c = Concat<axis = -1>(i, i) y = ScatterND(x, c, u)",
    )
    _, report = rewritten(model)
    assert report.scatters_after == 1


def test_indices_that_are_no_integers_stay() -> None:
    model = make("(float[5,6] x, int64[5,2] i, float[5] u) => (float[5,6] y)", "y = ScatterND(x, i, u)")
    del model.graph.input[1]
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((5, 2), np.float32), "i"))
    assert rewrite(ir.from_proto(model)).scatters_after == 1
