"""bf16: bfloat16 in the place of float32, where ONNX has a form of it or the operator is heavy."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
import small_models
from small_models import make, weights

from s2deploy.errors import BuildError
from s2deploy.options import PrecisionOptions
from s2deploy.precision import typed
from s2deploy.specs import Precision

BFLOAT16, FLOAT = ir.DataType.BFLOAT16, ir.DataType.FLOAT


def brain(model: onnx.ModelProto) -> ir.Model:
    return typed(ir.from_proto(model), PrecisionOptions(Precision.BF16)).model


def kinds(model: ir.Model) -> dict[str, ir.DataType | None]:
    return {node.op_type: node.inputs[0].dtype for node in model.graph if node.inputs}


def test_heavy_operators_become_bfloat16_and_the_interface_stays() -> None:
    model = brain(small_models.perceptron())
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert kinds(model)["MatMul"] == kinds(model)["Gelu"] == BFLOAT16
    assert {value.dtype for value in (*model.graph.inputs, *model.graph.outputs)} == {FLOAT}


@pytest.mark.parametrize("opset", [20, 22])
def test_convolutions_become_bfloat16_at_every_opset(opset: int) -> None:
    model = make(
        "(float[1,3,8,8] x) => (float[1,4,8,8] y)",
        "a = Conv<pads = [1, 1, 1, 1]>(x, w) b = Elu(a) y = Relu(b)",
        {"w": weights(4, 3, 3, 3)},
        opset=opset,
    )
    assert kinds(brain(model)) | {"Cast": None} == {
        "Cast": None,
        "Conv": BFLOAT16,
        "Elu": FLOAT if opset == 20 else BFLOAT16,  # ONNX defines it for bfloat16 from 22 on
        "Relu": BFLOAT16,
    }


def test_weights_are_rounded_once_and_keep_their_range() -> None:
    w = np.array([[1e9, -3e38], [1e-20, 1 + 2**-8 + 2**-12]], np.float32)
    model = brain(make("(float[2,2] x) => (float[2,2] y)", "y = MatMul(x, w)", {"w": w}))
    stored = model.graph.initializers["w"].const_value.numpy()
    np.testing.assert_array_equal(stored, w.astype(ml_dtypes.bfloat16))


def test_numbers_in_attributes_keep_their_range() -> None:
    model = make(
        "(float[2,2] x, int64[2] size) => (float[2,2] y)",
        "c = ConstantOfShape<value = float[1] {-1e9}>(size) a = Add(x, c) y = MatMul(a, w)",
        {"w": weights(2, 2)},
    )
    result = typed(ir.from_proto(model), PrecisionOptions(Precision.BF16))
    assert result.cost is None  # the random sizes do not fit
    assert result.remarks[0].startswith("what bf16 costs was not measured: onnxruntime cannot run the model")
    fill = next(node for node in result.model.graph if node.op_type == "ConstantOfShape")
    value = fill.attributes["value"].as_tensor()
    assert value.dtype == BFLOAT16
    assert float(value.numpy().astype(np.float32)[0]) == pytest.approx(-1e9, rel=1e-2)


def test_a_model_with_float16_in_it_is_refused() -> None:
    model = make("(float16[2,2] x) => (float16[2,2] y)", "y = MatMul(x, x)")
    with pytest.raises(BuildError, match="'x' is float16 already"):
        brain(model)


def test_a_product_in_double_is_refused_by_name() -> None:
    model = make("(double[2,2] x) => (double[2,2] y)", "[product] y = MatMul(x, x)")
    with pytest.raises(BuildError, match="MatMul 'product' would compute in double instead of bfloat16"):
        brain(model)
