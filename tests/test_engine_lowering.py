from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import small_models
from small_models import make, weights

from s2deploy.engine.lowering import lower
from s2deploy.errors import BuildError


def lowered(model: onnx.ModelProto) -> onnx.ModelProto:
    proto = ir.to_proto(lower(ir.from_proto(model)))
    onnx.checker.check_model(proto, full_check=True)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 17)]
    return proto


def run(model: onnx.ModelProto, **feed: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feed)[0]


def assert_same(model: onnx.ModelProto, *, tolerance: float = 0.0, **feed: np.ndarray) -> onnx.ModelProto:
    expected = run(model, **feed)
    low = lowered(model)
    found = run(low, **feed)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    return low


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize(("kind", "dtype", "tolerance"), [("float", np.float32, 2e-6), ("float16", np.float16, 4e-3)])
def test_gelu_becomes_arithmetic(approximate: str, kind: str, dtype: type, tolerance: float) -> None:
    model = make(f"({kind}[N] x) => ({kind}[N] y)", f'y = Gelu<approximate = "{approximate}">(x)')
    x = np.linspace(-6, 6, 101).astype(dtype)
    low = assert_same(model, x=x, tolerance=tolerance)
    assert "Gelu" not in {node.op_type for node in low.graph.node}


def test_two_gelus_share_nothing_by_accident() -> None:
    model = make("(float[N] x) => (float[N] y)", "a = Gelu(x) b = Gelu(a) y = Add(a, b)")
    assert_same(model, x=weights(33), tolerance=1e-5)


def test_a_network_keeps_its_values() -> None:
    assert_same(small_models.perceptron("N"), x=weights(5, 16, seed=3), tolerance=1e-4)


@pytest.mark.parametrize(
    "operator",
    ["ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceSum"],
)
def test_reductions_take_their_axes_as_an_attribute_again(operator: str) -> None:
    x = weights(3, 4, 5)
    axes = {"axes": np.array([0, -1])}
    model = make("(float[3,4,5] x) => (float[1,4,1] y)", f"y = {operator}(x, axes)", axes)
    assert_same(model, x=x, tolerance=1e-6)
    everything = make("(float[3,4,5] x) => (float y)", f"y = {operator}<keepdims = 0>(x)")
    assert_same(everything, x=x, tolerance=1e-6)


def test_equal_splits() -> None:
    model = make("(float[2,6] x) => (float[2,2] y)", "y, b, c = Split<axis = 1, num_outputs = 3>(x)")
    assert_same(model, x=weights(2, 6))


def test_pad_resize_cast_and_grid_sample() -> None:
    model = make(
        "(float[1,2,4,4] x, float[1,3,3,2] grid) => (float[1,2,3,3] y)",
        """
        pads = Constant<value_ints = [0, 0, 1, 1, 0, 0, 1, 1]>() padded = Pad<mode = "edge">(x, pads)
        scales = Constant<value_floats = [1.0, 1.0, 2.0, 2.0]>()
        large = Resize<mode = "linear", antialias = 0>(padded, , scales)
        again = Cast<to = 1, saturate = 1>(large) y = GridSample<mode = "linear">(again, grid)
        """,
    )
    assert_same(model, x=weights(1, 2, 4, 4), grid=weights(1, 3, 3, 2).clip(-1, 1), tolerance=1e-6)


def test_branches_are_lowered() -> None:
    model = make(
        "(bool which, float[3] x) => (float[3] y)",
        """
        y = If(which) <then_branch = t () => (float[3] a) { a = Gelu(x) },
                       else_branch = e () => (float[3] b) { b = Relu(x) }>
        """,
    )
    low = assert_same(model, which=np.array(True), x=weights(3), tolerance=1e-6)
    (branches,) = (node for node in low.graph.node if node.op_type == "If")
    assert all(node.op_type != "Gelu" for attribute in branches.attribute for node in attribute.g.node)


def test_an_older_model_is_left_alone() -> None:
    model = make("(float[3] x) => (float[3] y)", "y = Relu(x)", opset=13)
    assert lower(ir.from_proto(model)).opset_imports[""] == 13


@pytest.mark.parametrize(
    ("signature", "body", "reason"),
    [
        ("(float[3] x) => (float[3] y)", "[m] y = Mish(x)", "Mish 'm' .*does not exist there"),
        ("(float[2,N] x) => (float[2,A] y)", "y, b = Split<axis = 1, num_outputs = 2>(x)", "not known to be equal"),
        ("(float[2,5] x) => (float[2,3] y)", "y, b = Split<axis = 1, num_outputs = 2>(x)", "not known to be equal"),
        ("(float[4] x, int64[1] axes) => (float[1] y)", "y = ReduceMean(x, axes)", "axes are not constant"),
        ("(float[4] x) => (float[4] y)", "y = ReduceMean<noop_with_empty_axes = 1>(x)", "noop_with_empty_axes"),
        (
            "(float[4] x, int64[1,1] i, float[1] u) => (float[4] y)",
            'y = ScatterND<reduction = "max">(x, i, u)',
            "reduction=max",
        ),
    ],
)
def test_what_opset_17_lacks_is_refused_by_name(signature: str, body: str, reason: str) -> None:
    with pytest.raises(BuildError, match=reason) as caught:
        lower(ir.from_proto(make(signature, body)))
    assert caught.value.hint


def test_an_opset_nobody_knows_is_refused() -> None:
    model = ir.from_proto(make("(float[3] x) => (float[3] y)", "y = Relu(x)"))
    model.opset_imports[""] = 24
    with pytest.raises(BuildError, match="opset 24"):
        lower(model)
