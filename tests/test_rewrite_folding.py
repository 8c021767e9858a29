"""Arithmetic on constants is computed once."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from rewriting import check, op_types
from small_models import make, weights


def test_a_mask_made_by_arithmetic_on_constants_is_an_initializer() -> None:
    picture = np.repeat(np.arange(4, dtype=np.float32), 4)
    body = """
        p = Constant<value_floats = [0., 0., 1., 1., 2., 2.]>()
        r0 = Constant<value_ints = [1, 6]>() r1 = Constant<value_ints = [6, 1]>() zero = Constant<value_float = 0.>()
        low = Constant<value_float = -100.>()
        a = Reshape(p, r0) b = Reshape(p, r1) d = Sub(a, b) e = Equal(d, zero) f = Where(e, d, low) y = Add(x, f)
    """
    result, report = check(make("(float[2,6,6] x) => (float[2,6,6] y)", body))
    assert op_types(result) == {"Add": 1}
    assert report.nodes_before == 6
    assert picture.size == 16


def test_weights_keep_their_names() -> None:
    model = make(
        "(float[4,16] x) => (float[4,32] y)",
        "half = Constant<value_float = 0.5>() v = Mul(w, half) y = MatMul(x, v)",
        {"w": weights(16, 32)},
    )
    result, _ = check(model)
    assert next(tensor.name for tensor in result.graph.initializer) == "w"
    assert op_types(result) == {"Mul": 1, "MatMul": 1}


def test_quantized_weights_stay_quantized() -> None:
    model = make(
        "(float[4,16] x) => (float[4,8] y)",
        "v = DequantizeLinear(w, scale) y = MatMul(x, v)",
        {"w": np.ones((16, 8), np.int8), "scale": np.array(0.1, np.float32)},
    )
    result, _ = check(model)
    assert op_types(result) == {"DequantizeLinear": 1, "MatMul": 1}


@pytest.mark.parametrize("count", [65, 3_000_000])
def test_a_repeated_value_and_a_large_result_stay_computed(count: int) -> None:
    body = f"""
        n = Constant<value_ints = [{count}]>() one = Constant<value_float = 1.>()
        z = ConstantOfShape(n) s = Exp(z) t = CumSum(s, axis) u = ReduceSum(t) y = Add(x, u)
    """
    model = make("(float[1] x) => (float[1] y)", body, {"axis": np.array(0, np.int64)})
    result, _ = check(model)
    assert ("CumSum" in op_types(result)) == (count == 3_000_000)
    assert sum(tensor.ByteSize() for tensor in result.graph.initializer) < 1000


def test_random_numbers_are_drawn_at_every_run() -> None:
    model = make("(float[2] x) => (float[2] y)", "r = RandomNormal<shape = [2]>() y = Add(x, r)")
    import onnx_ir as ir

    from s2deploy.rewrite import rewrite

    graph = ir.from_proto(model)
    rewrite(graph)
    assert op_types(ir.to_proto(graph)) == {"RandomNormal": 1, "Add": 1}


def test_an_output_that_depends_on_nothing_keeps_its_name() -> None:
    model = make(
        "(float[2] x) => (float[2] y, float[3] c)",
        "y = Abs(x) a = Constant<value_floats = [1., 2., 3.]>() c = Exp(a)",
    )
    result, _ = check(model)
    folded = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.graph.initializer}
    assert op_types(result) == {"Abs": 1, "Identity": 1}
    assert np.allclose(next(iter(folded.values())), np.exp([1, 2, 3]))
    assert isinstance(result, onnx.ModelProto)
