"""What another order of sums costs: in float32 against the graph as it was, in float16 against float64."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from rewriting import op_types, session
from small_models import make

from s2deploy.rewrite import DEFAULT_PASSES, REORDERING, Pass, rewrite
from s2deploy.specs import Dim

C = 10
RANGES = {"N": Dim("N", 1, 64, 64), "H": Dim("H", 2, 32, 64), "W": Dim("W", 2, 32, 64)}
SIZES = [(1, 2, 2), (2, 3, 7), (1, 28, 19)]
BLOCK = """
    t = MatMul(x, w1) u = Add(t, b1)
    d0 = Slice(u, c00, c01, ch) d1 = Slice(d0, zero, one, rows) d2 = Slice(d0, zero, last, rows)
    down = Concat<axis = 1>(d1, d2)
    r0 = Slice(u, c10, c11, ch) r1 = Slice(r0, zero, one, columns) r2 = Slice(r0, zero, last, columns)
    right = Concat<axis = 2>(r1, r2)
    rest = Slice(u, c20, c21, ch)
    s0 = Unsqueeze(down, one) s1 = Unsqueeze(right, one) s2 = Unsqueeze(rest, one)
    s = Concat<axis = 1>(s0, s1, s2)
    flat = Reshape(s, merged)
    p0 = ReduceSum<keepdims = 0>(flat, one) p = ReduceSum<keepdims = 0>(p0, one)
    h0 = MatMul(p, w2) h1 = Tanh(h0) h2 = MatMul(h1, w3) h3 = Reshape(h2, heads) a = Softmax<axis = 1>(h3)
    a1 = Unsqueeze(a, two) weighted = Mul(a1, flat) m = ReduceSum<keepdims = 0>(weighted, one)
    shape = Shape(x) y0 = Reshape(m, shape) y = MatMul(y0, w4)
"""


def block(dtype: type) -> onnx.ModelProto:
    """Returns a block of shifts and split attention, its arrays and all types in one precision."""
    name = {np.float16: "float16", np.float32: "float", np.float64: "double"}[dtype]
    rng = np.random.default_rng(0)
    # Rounded to float16 first, so that all precisions compute with the same numbers.
    shapes = {"w1": (C, 3 * C), "b1": (3 * C,), "w2": (C, C), "w3": (C, 3 * C), "w4": (C, C)}
    given = {key: (rng.standard_normal(shape) * 0.3).astype(np.float16).astype(dtype) for key, shape in shapes.items()}
    given["w3"] *= dtype(0.125)
    numbers = {"zero": 0, "one": 1, "two": 2, "last": -1, "rows": 1, "columns": 2, "ch": 3}
    numbers |= {"c00": 0, "c01": C, "c10": C, "c11": 2 * C, "c20": 2 * C, "c21": 3 * C}
    given |= {key: np.array([number]) for key, number in numbers.items()}
    given |= {"merged": np.array([0, 3, -1, C]), "heads": np.array([0, 3, C])}
    return make(f"({name}[N,H,W,{C}] x) => ({name}[N,H,W,{C}] y)", BLOCK, given)


def run(model: onnx.ModelProto, size: tuple[int, int, int], dtype: type) -> np.ndarray:
    x = np.random.default_rng(1).standard_normal((*size, C)).astype(np.float16)
    (y,) = session(model).run(None, {"x": x.astype(dtype)})
    return np.asarray(y)


def rewritten(model: onnx.ModelProto, passes: tuple[Pass, ...]) -> onnx.ModelProto:
    graph = ir.from_proto(model)
    rewrite(graph, RANGES, passes)
    return ir.to_proto(graph)


def alone(name: str) -> tuple[Pass, ...]:
    """Returns the passes without those that put sums in another order, but for one."""
    return tuple(one for one in DEFAULT_PASSES if one.__name__ == name or one.__name__ not in REORDERING)


VARIANTS = {**{name: alone(name) for name in sorted(REORDERING)}, "all": DEFAULT_PASSES}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_float32_stays_within_a_share_of_the_largest_value(variant: str, size: tuple[int, int, int]) -> None:
    original = block(np.float32)
    result = rewritten(original, VARIANTS[variant])
    assert op_types(result) != op_types(original)
    expected, found = run(original, size, np.float32), run(result, size, np.float32)
    assert np.abs(found - expected).max() <= 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize("variant", VARIANTS)
def test_float16_is_no_further_from_float64_than_before(variant: str) -> None:
    """By root mean square over several sizes: single values of two roundings may lie either way."""
    before, after = [], []
    plain, result = block(np.float16), rewritten(block(np.float16), VARIANTS[variant])
    for size in SIZES:
        exact = run(block(np.float64), size, np.float64)
        for model, errors in ((plain, before), (result, after)):
            errors.append(((run(model, size, np.float16) - exact) / np.abs(exact).max()).ravel())
    rms = [float(np.sqrt(np.mean(np.concatenate(errors) ** 2))) for errors in (before, after)]
    assert rms[1] <= 1.25 * rms[0]


@pytest.mark.parametrize("size", SIZES)
def test_without_them_every_bit_is_the_same(size: tuple[int, int, int]) -> None:
    original = block(np.float32)
    result = rewritten(original, alone(""))
    assert run(original, size, np.float32).tobytes() == run(result, size, np.float32).tobytes()
