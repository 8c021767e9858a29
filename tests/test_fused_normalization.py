"""Layer normalization that an exporter has taken apart is one operator again."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from rewriting import check, op_types
from small_models import make, weights

CENTER = "m = ReduceMean(x, last) d = Sub(x, m)"
SCALED = "n = Mul(q, g) y = Add(n, b)"
ROOT = "v = ReduceMean(p, last) w = Add(v, eps) s = Sqrt(w)"
FORMS = {
    "of TorchScript": f"{CENTER} p = Pow(d, two) {ROOT} q = Div(d, s) {SCALED}",
    "products": f"{CENTER} p = Mul(d, d) {ROOT} r = Reciprocal(s) q = Mul(d, r) n = Mul(g, q) y = Add(b, n)",
    "without scale": f"{CENTER} p = Mul(d, d) {ROOT} y = Div(d, s)",
    "without bias": f"{CENTER} p = Mul(d, d) {ROOT} q = Div(d, s) y = Mul(q, g)",
    "epsilon first": f"{CENTER} p = Mul(d, d) {ROOT.replace('(v, eps)', '(eps, v)')} y = Div(d, s)",
}
STAYS = {
    "another mean": FORMS["of TorchScript"].replace("ReduceMean(p, last)", "ReduceMean(p, first)"),
    "another axis": FORMS["of TorchScript"].replace("last", "first"),
    "another power": FORMS["of TorchScript"].replace("two", "three"),
    "the inverse": FORMS["without scale"].replace("Div(d, s)", "Div(s, d)"),
    "a part that is read": FORMS["without scale"].replace("y = Div(d, s)", "q = Div(d, s) y = Add(q, d)"),
}
SIZES = [{"N": 1, "M": 1}, {"N": 2, "M": 7}, {"N": 0, "M": 3}]


def model(body: str, opset: int = 20, channels: int = 6) -> onnx.ModelProto:
    given = {
        "last": np.array([-1]),
        "first": np.array([1]),
        "two": np.array(2, np.float32),
        "three": np.array(3, np.float32),
        "eps": np.array(1e-5, np.float32),
        "g": weights(channels),
        "b": weights(channels, seed=1),
    }
    used = {name: array for name, array in given.items() if f"{name})" in body or f"({name}" in body}
    return make(f"(float[N,M,{channels}] x) => (float[N,M,{channels}] y)", body, used, opset=opset)


@pytest.mark.parametrize("form", FORMS)
def test_becomes_one_operator(form: str) -> None:
    result, report = check(model(FORMS[form]), *SIZES)
    assert op_types(result) == {"LayerNormalization": 1}
    assert [done.name for done in report.rewrites] == ["y"]


def test_several_axes_are_normalized_at_once() -> None:
    body = FORMS["without scale"].replace("last", "both")
    original = make(
        "(float[N,3,5] x) => (float[N,3,5] y)", body, {"both": np.array([1, 2]), "eps": np.array(1e-5, np.float32)}
    )
    result, _ = check(original, {"N": 1}, {"N": 4})
    assert op_types(result) == {"LayerNormalization": 1}


def test_a_scale_of_another_shape_stays_outside() -> None:
    original = model(FORMS["of TorchScript"])
    for tensor in original.graph.initializer:
        if tensor.name == "g":
            tensor.CopyFrom(onnx.numpy_helper.from_array(weights(1), "g"))
    result, _ = check(original, *SIZES)
    assert op_types(result) == {"LayerNormalization": 1, "Mul": 1, "Add": 1}


@pytest.mark.parametrize("form", STAYS)
def test_what_is_no_normalization_stays(form: str) -> None:
    result, _ = check(model(STAYS[form]), *SIZES[:2])
    assert "LayerNormalization" not in op_types(result)


def test_older_operator_sets_have_none() -> None:
    body = FORMS["without scale"].replace("ReduceMean(x, last)", "ReduceMean<axes = [2]>(x)")
    result, _ = check(model(body.replace("ReduceMean(p, last)", "ReduceMean<axes = [2]>(p)"), opset=16), *SIZES)
    assert op_types(result)["Sqrt"] == 1
