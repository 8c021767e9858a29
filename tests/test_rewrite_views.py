"""Which axes of a tensor in one shape are which of it in another, and views that are wrong."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from small_models import make

from s2deploy.rewrite.views import own_axis
from s2deploy.rewrite.views_merged import merge_views


@pytest.mark.parametrize(
    ("inner", "outer", "axis", "found"),
    [
        ((2, 6), (2, 2, 3), 1, (1, 3)),
        ((2, 6), (2, 2, 3), 2, None),
        ((2, 1, 6), (2, 1, 2, 3), 2, (2, 3)),
        ((2, 1, 6), (2, 1, 2, 3), 1, None),
        ((2, 3, 4), (2, 12), 1, None),
        ((1,), (1, 1), 0, None),
        ((), (1,), 0, None),
    ],
)
def test_an_axis_that_begins_another_is_found(
    inner: tuple[int, ...], outer: tuple[int, ...], axis: int, found: tuple[int, int] | None
) -> None:
    assert own_axis(inner, outer, axis) == found


def test_a_view_of_another_number_of_elements_is_left_to_a_runtime() -> None:
    model = make(
        "(float[12,1] x) => (float[12,1] y)",
        "a = Reshape(w, flat) b = Reshape(a, wrong) y = Add(x, b)",
        {"w": np.ones((2, 2, 2), np.float32), "flat": np.array([4, 2]), "wrong": np.array([12, 1])},
    )
    graph = ir.from_proto(onnx.shape_inference.infer_shapes(model)).graph
    assert merge_views(graph, {}) == []
    assert [node.op_type for node in graph] == ["Reshape", "Reshape", "Add"]
