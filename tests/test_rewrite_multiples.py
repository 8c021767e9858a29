"""Sizes declared as multiples decide where assignments with a step lie."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from rewriting import check, op_types
from small_models import make

from s2deploy.specs import Dim

STEPPED = """
    axis = Constant<value_ints = [1]>() zero = Constant<value_ints = [0]>() one = Constant<value_ints = [1]>()
    two = Constant<value_ints = [2]>() all = Constant<value_ints = [9223372036854775807]>()
    even = Slice(x, zero, all, axis, two) minus = Neg(even)
    sizes = Shape(x) height = Gather<axis = 0>(sizes, place) start = Constant<value_int = 0>()
    step = Constant<value_int = 2>() rows = Range(start, height, step) column = Constant<value_ints = [-1, 1]>()
    index = Reshape(rows, column) turned = Transpose<perm = [1, 0]>(x) update = Transpose<perm = [1, 0]>(minus)
    z = ScatterND(turned, index, update) y = Transpose<perm = [1, 0]>(z)
"""


def stepped() -> onnx.ModelProto:
    """Returns ``x[:, ::2] = -x[:, ::2]`` with the index computed from the size."""
    return make("(float[3,H] x) => (float[3,H] y)", STEPPED, {"place": np.array(1, np.int64)})


def test_a_step_that_divides_the_declared_multiple_is_no_scatter() -> None:
    result, report = check(stepped(), {"H": 2}, {"H": 4}, {"H": 10}, ranges={"H": Dim("H", 2, 4, 10, 2)})
    assert report.scatters_after == 0
    assert "Shape" not in op_types(result)
    assert result.graph.output[0].type.tensor_type.shape.dim[1].dim_param == "H"


@pytest.mark.parametrize(("multiple", "wanted"), [(1, 2), (3, 6)])
def test_another_multiple_does_not_decide_it(multiple: int, wanted: int) -> None:
    sizes = [{"H": multiple * n} for n in (1, 2, 3)]
    _, report = check(stepped(), *sizes, ranges={"H": Dim("H", multiple, 2 * multiple, 9 * multiple, multiple)})
    assert report.scatters_after == 1
    assert f"H=MIN..MAX/{wanted}" in report.refusals[0].reason


def test_sizes_between_are_written_in_the_dimensions_of_the_file() -> None:
    result, _ = check(stepped(), {"H": 4}, ranges={"H": Dim("H", 2, 4, 10, 2)})
    named = {dim.dim_param for value in result.graph.value_info for dim in value.type.tensor_type.shape.dim}
    assert not any("2*" in name for name in named)
