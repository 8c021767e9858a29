"""What a Conv, a pooling or a Resize leaves of a dimension is known as the operators compute it."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from rewriting import check, feeds, op_types, session
from small_models import make

from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.coordinates import substituted
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.rules import RULES
from s2deploy.specs import Dim

RANGES = {"H": (9, 40)}
WEIGHTS = {
    "w": np.ones((2, 2, 3, 5), np.float32),
    "scales": np.array([1, 1, 2, 3], np.float32),
    "half": np.array([1, 1, 1.5, 2], np.float32),
}
WINDOWS = {
    "Conv": "Conv(x, w)",
    "a Conv that keeps the size": "Conv<pads = [1, 2, 1, 2]>(x, w)",
    "a Conv with strides": "Conv<pads = [1, 0, 0, 3], strides = [2, 3]>(x, w)",
    "a dilated Conv": "Conv<dilations = [3, 1], strides = [2, 1]>(x, w)",
    "MaxPool": "MaxPool<kernel_shape = [2, 3], strides = [2, 2]>(x)",
    "AveragePool": 'AveragePool<kernel_shape = [3, 3], auto_pad = "VALID">(x)',
    "Resize": 'Resize<mode = "nearest">(x, , scales)',
}
OTHERS = {
    "padding by the size": 'Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(x, w)',
    "sizes rounded up": "MaxPool<kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1>(x)",
    "parts of a pixel": 'Resize<mode = "nearest">(x, , half)',
}


def size_of(body: str, ranges: dict[str, tuple[int, int | None]]) -> tuple[Shape, onnx.ModelProto]:
    model = make("(float[N,2,H,9] x) => (float[A,B,C,D] y)", f"t = {body} y = Relu(t)", WEIGHTS)
    graph = ir.from_proto(model).graph
    facts = Interpretation(graph, ranges, RULES)
    return facts.shape(next(iter(graph)).outputs[0]), model


@pytest.mark.parametrize("name", WINDOWS)
def test_a_size_is_what_the_operator_leaves(name: str) -> None:
    shape, model = size_of(WINDOWS[name], RANGES)
    runner = session(model)
    for height in (9, 10, 11, 13, 40):
        (y,) = runner.run(None, feeds(model, {"N": 1, "H": height}))
        assert tuple(substituted(size, {"N": 1, "H": height}) for size in shape) == y.shape


@pytest.mark.parametrize("name", OTHERS)
def test_a_size_by_another_rule_is_computed_at_run_time(name: str) -> None:
    shape, _ = size_of(OTHERS[name], RANGES)
    assert str(shape[2]).startswith("_unknown")


def test_what_might_be_empty_by_the_ranges_has_a_name() -> None:
    shape, _ = size_of("Conv(x, w)", {"H": (1, None)})
    assert str(shape[2]).startswith("_unknown")


@pytest.mark.parametrize(
    "attributes", ["pads = [1, 2, 1, 2]", "pads = [0, 2, 0, 2]", 'auto_pad = "SAME_UPPER", strides = [2, 2]']
)
def test_a_stack_of_what_convs_give_is_taken_apart(attributes: str) -> None:
    body = f"""
        a = Conv<{attributes}>(x, w) b = Conv<{attributes}>(x, v) c = Unsqueeze(a, at) d = Unsqueeze(b, at)
        s = Concat<axis = 1>(c, d) y = ReduceSum<keepdims = 0>(s, at)
    """
    model = make(
        "(float[N,2,H,W] x) => (float[A,B,C,D] y)",
        body,
        {"w": WEIGHTS["w"], "v": WEIGHTS["w"] / 2, "at": np.array([1])},
    )
    ranges = {"N": Dim("N", 1, 2, 4), "H": Dim("H", 3, 32, 64), "W": Dim("W", 1, 32, 64)}
    sizes = [{"N": n, "H": height, "W": width} for n, height, width in ((1, 3, 1), (2, 7, 4), (4, 64, 33))]
    result, _ = check(model, *sizes, ranges=ranges)
    assert op_types(result) == {"Conv": 2, "Add": 1}
