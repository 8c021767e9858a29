from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import small_models
from small_models import make, weights

from s2deploy.errors import BuildError
from s2deploy.options import PrecisionOptions
from s2deploy.precision import HEAVY_OPERATORS
from s2deploy.precision import typed as typed_for
from s2deploy.precision.graph import some
from s2deploy.specs import Precision, parse_inputs


def typed(model: onnx.ModelProto, *ranges: str, keep_io: bool = True) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    half = typed_for(ir.from_proto(model), PrecisionOptions(Precision.FP16, fp16_io=not keep_io), parse_inputs(ranges))
    proto = ir.to_proto(half.model)
    onnx.checker.check_model(proto, full_check=True)
    return proto, half.remarks


def run(model: onnx.ModelProto, **feed: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def io_types(model: onnx.ModelProto) -> list[int]:
    return [value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)]


def types_of(model: onnx.ModelProto, op_type: str) -> set[str]:
    """Returns the element types the operators of a kind compute in."""
    graph = ir.from_proto(onnx.shape_inference.infer_shapes(model)).graph
    return {node.inputs[0].dtype.name for node in graph.all_nodes() if node.op_type == op_type}


FLOAT, FLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


@pytest.mark.parametrize("batch", [1, 5])
def test_heavy_operators_become_float16_and_the_interface_stays(batch: int) -> None:
    model = small_models.perceptron("N")
    half, remarks = typed(model, "x:N=1..5,16")
    assert io_types(half) == [FLOAT, FLOAT]
    assert types_of(half, "MatMul") == {"FLOAT16"}
    assert remarks == ()
    x = weights(batch, 16, seed=1)
    np.testing.assert_allclose(run(half, x=x)[0], run(model, x=x)[0], rtol=0, atol=0.05)


def test_the_interface_becomes_float16_where_that_is_asked_for() -> None:
    half, _ = typed(small_models.perceptron(), keep_io=False)
    assert io_types(half) == [FLOAT16, FLOAT16]
    assert run(half, x=weights(4, 16).astype(np.float16))[0].dtype == np.float16


def test_convolutions_become_float16() -> None:
    half, _ = typed(small_models.convolution())
    assert types_of(half, "Conv") == {"FLOAT16"}


def test_constants_held_as_plain_numbers_are_converted() -> None:
    model = make(
        "(float[4,16] x) => (float[4,8] y)",
        """
        c = Constant<value_float = 0.5>() a = Mul(x, c) b = MatMul(a, w)
        d = Constant<value_floats = [1.0]>() y = Add(b, d)
        """,
        {"w": weights(16, 8)},
    )
    assert types_of(typed(model)[0], "Mul") == {"FLOAT16"}


def test_shape_arithmetic_keeps_sizes_that_float16_cannot_hold() -> None:
    model = make(
        "(float[N,4] x) => (float[A,4] y)",
        """
        size = Shape<start = 0, end = 1>(x) real = Cast<to = 1>(size) twice = Mul(real, two) whole = Cast<to = 7>(twice)
        rows = Concat<axis = 0>(whole, four) flat = Concat<axis = 0>(x, x) z = Reshape(flat, rows) y = MatMul(z, w)
        """,
        {"two": np.array([2.0], np.float32), "four": np.array([4]), "w": weights(4, 4)},
    )
    half, _ = typed(model)
    assert run(half, x=np.ones((2049, 4), np.float32))[0].shape == (4098, 4)


def test_resize_by_computed_scales_stays_exact() -> None:
    model = make(
        "(float[1,1,N,4] x) => (float[1,1,A,4] y)",
        """
        n = Shape<start = 2, end = 3>(x) real = Cast<to = 1>(n) more = Add(real, one) ratio = Div(more, real)
        scales = Concat<axis = 0>(ones, ratio, one) z = Resize<mode = "nearest">(x, , scales) y = Conv(z, w)
        """,
        {"one": np.ones(1, np.float32), "ones": np.ones(2, np.float32), "w": weights(1, 1, 1, 1)},
    )
    half, _ = typed(model)
    assert run(half, x=np.ones((1, 1, 3000, 4), np.float32))[0].shape == (1, 1, 3001, 4)


def test_sums_and_powers_stay_float32_without_a_detour_through_float16() -> None:
    model = make(
        "(float[1,1000] x) => (float[1,1] y)",
        """
        two = Constant<value_float = 2.0>() s = Pow(x, two)
        axes = Constant<value_ints = [1]>() y = ReduceMean(s, axes)
        """,
    )
    half, _ = typed(model)
    assert run(half, x=np.full((1, 1000), 1000, np.float32))[0] == 1e6
    assert types_of(half, "ReduceMean") == types_of(half, "Pow") == {"FLOAT"}


def test_weights_float16_cannot_hold_are_named() -> None:
    model = make(
        "(float[4,16] x) => (float[4,16] y)",
        "m = MatMul(x, w) a = Add(m, mask) b = Add(a, odd) y = Add(b, ok)",
        {
            "w": weights(16, 16),
            "mask": np.full(16, -1e9, np.float32),
            "odd": np.array([np.nan], np.float32),
            "ok": np.array([np.inf, *[0.0] * 15], np.float32),
        },
    )
    half, remarks = typed(model)
    assert remarks == (
        "clipped to float16's range of +-65504: mask (up to 1e+09)",
        "not a number, in float32 already: odd",
    )
    assert next(iter(half.graph.initializer)).data_type == FLOAT16


def test_local_functions_are_typed_too() -> None:
    model = onnx.parser.parse_model(
        """
        <ir_version: 10, opset_import: ["": 20, "my": 1]>
        g (float[4,16] x) => (float[4,8] y) { y = my.scaled(x, w) }
        <domain: "my", opset_import: ["": 20]>
        scaled (x, w) => (y) { c = Constant<value_float = 2.0>() a = Mul(x, c) y = MatMul(a, w) }
        """
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights(16, 8), "w"))
    half, _ = typed(model)
    x = weights(4, 16, seed=1)
    np.testing.assert_allclose(run(half, x=x)[0], run(model, x=x)[0], rtol=0, atol=0.05)
    assert types_of(half, "MatMul") == {"FLOAT16"}


def test_an_output_that_is_an_input_is_refused() -> None:
    model = make("(float[2,2] x) => (float[2,2] x, float[2,2] y)", "y = MatMul(x, x)")
    with pytest.raises(BuildError, match="input 'x' is an output as well"):
        typed(model)


def test_an_output_that_feeds_other_nodes_survives() -> None:
    model = make("(float[2,2] x) => (float[2,2] y, float[2,2] z)", "y = MatMul(x, x) z = Relu(y)")
    half, _ = typed(model)
    assert io_types(half) == [FLOAT, FLOAT, FLOAT]


def test_integer_inputs_and_outputs_stay() -> None:
    model = make(
        "(int64[3] ids) => (float[3,4] y, int64[3] same)",
        "e = Gather(table, ids) y = MatMul(e, w) same = Identity(ids)",
        {"table": weights(10, 4), "w": weights(4, 4)},
    )
    half, _ = typed(model)
    assert io_types(half) == [onnx.TensorProto.INT64, FLOAT, onnx.TensorProto.INT64]


def test_branches_are_typed() -> None:
    model = make(
        "(bool which, float[2,2] x) => (float[2,2] y)",
        """
        y = If(which) <then_branch = t () => (float[2,2] a) { a = MatMul(x, x) },
                       else_branch = e () => (float[2,2] b) { b = Relu(x) }>
        """,
    )
    half, _ = typed(model)
    x = weights(2, 2)
    np.testing.assert_allclose(run(half, which=np.array(True), x=x)[0], x @ x, rtol=0, atol=1e-2)


def test_typing_twice_changes_nothing() -> None:
    once, _ = typed(small_models.perceptron(), keep_io=False)
    again, _ = typed(once, keep_io=False)
    assert [node.op_type for node in again.graph.node] == [node.op_type for node in once.graph.node]


def test_a_matrix_product_in_another_type_is_refused_by_name() -> None:
    model = make("(double[2,2] x) => (double[2,2] y)", "[product] y = MatMul(x, x)")
    with pytest.raises(BuildError, match="MatMul 'product' would compute in double instead of float16"):
        typed(model)


def test_heavy_operators_are_what_the_check_covers() -> None:
    assert {"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum"} == HEAVY_OPERATORS


@pytest.mark.parametrize(
    ("count", "text"), [(0, ""), (2, "a, b"), (5, "a, b, c, d, e"), (7, "a, b, c, d, e and 2 more")]
)
def test_the_first_names_stand_for_many(count: int, text: str) -> None:
    assert some("abcdefg"[:count]) == text
    assert some("abcdefg", 7) == "a, b, c, d, e, f, g"
