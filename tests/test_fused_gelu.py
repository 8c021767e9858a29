"""GELU that an exporter has taken apart is one operator again."""

from __future__ import annotations

import math

import numpy as np
import pytest
from rewriting import check, op_types
from small_models import make

NUMBERS = {
    "half": 0.5,
    "one": 1.0,
    "two": 2.0,
    "three": 3.0,
    "root": math.sqrt(2),
    "inverse": math.sqrt(0.5),
    "scale": math.sqrt(2 / math.pi),
    "cubic": 0.044715,
    "wrong": 0.045,
}
CUBE = "q = Mul(x, x) r = Mul(q, x)"
INNER = "s = Mul(r, cubic) t = Add(x, s) u = Mul(scale, t) e = Tanh(u) a = Add(one, e)"
EXACT = {
    "of TorchScript": "d = Div(x, root) e = Erf(d) a = Add(e, one) m = Mul(x, a) y = Mul(m, half)",
    "half first": "h = Mul(half, x) d = Mul(x, inverse) e = Erf(d) a = Add(one, e) y = Mul(h, a)",
    "half in the sum's place": "d = Mul(inverse, x) e = Erf(d) a = Add(e, one) m = Mul(a, half) y = Mul(x, m)",
    "divided by two": "d = Div(x, root) e = Erf(d) a = Add(e, one) m = Mul(x, a) y = Div(m, two)",
}
TANH = {
    "a power": f"r = Pow(x, three) {INNER} h = Mul(x, half) y = Mul(h, a)",
    "products": f"{CUBE} {INNER} m = Mul(half, a) y = Mul(x, m)",
}
STAYS = {
    "another factor": "d = Div(x, root) e = Erf(d) a = Add(e, one) m = Mul(x, a) y = Mul(m, two)",
    "another argument": "d = Div(x, two) e = Erf(d) a = Add(e, one) m = Mul(x, a) y = Mul(m, half)",
    "another sum": "d = Div(x, root) e = Erf(d) a = Add(e, half) m = Mul(x, a) y = Mul(m, half)",
    "another cubic": f"{CUBE} {INNER.replace('cubic', 'wrong')} m = Mul(half, a) y = Mul(x, m)",
    "another number divided": "d = Div(x, root) e = Erf(d) a = Add(e, one) m = Mul(x, a) y = Div(half, m)",
    "a part that is read": "d = Div(x, root) e = Erf(d) a = Add(e, one) m = Mul(x, a) z = Mul(m, half) y = Add(z, e)",
    "another tensor": "k = Relu(x) d = Div(k, root) e = Erf(d) a = Add(e, one) m = Mul(x, a) y = Mul(m, half)",
}
SIZES = [{"N": 0}, {"N": 1}, {"N": 7}]


def model(body: str, dtype: type = np.float32, opset: int = 20):
    name = {np.float32: "float", np.float64: "double"}[dtype]
    used = {key: np.array(number, dtype) for key, number in NUMBERS.items() if f"{key})" in body or f"({key}" in body}
    return make(f"({name}[N,5] x) => ({name}[N,5] y)", body, used, opset=opset)


@pytest.mark.parametrize("form", EXACT)
def test_the_exact_form_is_one_operator(form: str) -> None:
    result, report = check(model(EXACT[form]), *SIZES)
    assert op_types(result) == {"Gelu": 1}
    assert [done.name for done in report.rewrites] == ["y"]


@pytest.mark.parametrize("form", TANH)
def test_the_approximate_form_is_one_operator(form: str) -> None:
    result, _ = check(model(TANH[form]), *SIZES)
    assert op_types(result) == {"Gelu": 1}
    assert result.graph.node[0].attribute[0].s == b"tanh"


@pytest.mark.parametrize("form", STAYS)
def test_what_is_no_gelu_stays(form: str) -> None:
    result, _ = check(model(STAYS[form]), *SIZES)
    assert "Gelu" not in op_types(result)


def test_older_operator_sets_have_no_gelu() -> None:
    result, _ = check(model(EXACT["of TorchScript"], opset=19), *SIZES)
    assert op_types(result)["Erf"] == 1
