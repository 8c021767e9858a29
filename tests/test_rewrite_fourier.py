"""Fourier transforms of known lengths become products with matrices."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rewriting import check, op_types, rewritten, session

from s2deploy.specs import Dim

RANGES = {"n": Dim("n", 1, 2, 4), "w": Dim("w", 3, 5, 9)}


def transform(
    shape: Sequence[int | str],
    axis: int | str,
    length: int | str | None = None,
    *,
    opset: int = 20,
    dtype: int = TensorProto.FLOAT,
    factor: tuple[str, float] | None = None,
    **attributes: int,
) -> onnx.ModelProto:
    """Returns y = DFT(x); a length or an axis by name is an input."""
    inputs = [helper.make_tensor_value_info("x", dtype, shape)]
    constants = []
    for name, number in (("length", length), ("axis", axis)):
        if isinstance(number, str):
            inputs.append(helper.make_tensor_value_info(name, TensorProto.INT64, []))
        elif number is not None:
            constants.append(numpy_helper.from_array(np.array(number, np.int64), name))
    nodes, data = [], "x"
    if factor is not None:
        constants.append(numpy_helper.from_array(np.array(factor[1], helper.tensor_dtype_to_np_dtype(dtype)), "factor"))
        nodes.append(helper.make_node(factor[0], ["x", "factor"], ["scaled"]))
        data = "scaled"
    given = ["" if length is None else "length"]
    if opset >= 20:
        given.append("axis")
    else:
        attributes["axis"] = axis
    nodes.append(helper.make_node("DFT", [data, *given], ["y"], name="dft", **attributes))
    outputs = [helper.make_tensor_value_info("y", dtype, None)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    (result,) = session(model).run(None, {"x": x})
    return result


def spectrum(x: np.ndarray) -> np.ndarray:
    """Returns pairs, or real numbers in a last axis of one, as complex numbers."""
    return x[..., 0] + 1j * x[..., 1] if x.shape[-1] == 2 else x[..., 0] + 0j


def values(shape: Sequence[int], dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("opset", [17, 19, 20, 23])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((2, 3, 5, 1), 2), ((2, 4, 6, 2), 2), ((2, 4, 6, 2), 1), ((2, 3, 4, 5, 2), 1), ((7, 2), 0), ((2, 1, 3, 1), 1)],
)
@pytest.mark.parametrize("attributes", [{}, {"inverse": 1}, {"onesided": 1}])
def test_transforms_are_products(shape: tuple[int, ...], axis: int, attributes: dict[str, int], opset: int) -> None:
    if attributes == {"onesided": 1} and shape[-1] == 2:
        pytest.skip("one side is of real numbers")
    model = transform(shape, axis, opset=opset, dtype=TensorProto.DOUBLE, **attributes)
    result, _ = rewritten(model)
    assert "DFT" not in op_types(result)
    x = values(shape)
    wanted = (np.fft.ifft if "inverse" in attributes else np.fft.fft)(spectrum(x), axis=axis)
    if "onesided" in attributes:
        wanted = wanted.take(range(shape[axis] // 2 + 1), axis)
    np.testing.assert_allclose(spectrum(run(result, x)), wanted, rtol=0, atol=1e-13)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("length", [None, 1, 2, 5, 6, 8])
def test_one_side_backwards_gives_reals(count: int, length: int | None) -> None:
    if count == 1 and length is None:
        pytest.skip("of no length")
    model = transform((2, count, 3, 2), 1, length, dtype=TensorProto.DOUBLE, inverse=1, onesided=1)
    result, _ = rewritten(model)
    x = values((2, count, 3, 2))
    found = run(result, x)
    wanted = np.fft.irfft(spectrum(x), n=length or 2 * (count - 1), axis=1)
    np.testing.assert_allclose(found[..., 0], wanted, rtol=0, atol=1e-13)
    assert found.shape == (*wanted.shape, 1)
    assert "DFT" not in op_types(result)


@pytest.mark.parametrize(("length", "attributes"), [(3, {}), (9, {}), (9, {"inverse": 1}), (4, {"onesided": 1})])
def test_lengths_cut_and_fill_up(length: int, attributes: dict[str, int]) -> None:
    pair = 1 if "onesided" in attributes else 2
    # In double precision, onnxruntime divides by the length in single precision.
    model = transform((2, 6, pair), -2, length, dtype=TensorProto.DOUBLE, **attributes)
    result, _ = rewritten(model)
    x = values((2, 6, pair))
    function = {"": np.fft.fft, "inverse": np.fft.ifft, "onesided": np.fft.rfft}["".join(attributes)]
    data = spectrum(x).real if pair == 1 else spectrum(x)
    np.testing.assert_allclose(spectrum(run(result, x)), function(data, length, axis=1), rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.DOUBLE])
@pytest.mark.parametrize("shape", [("n", 3, 8, 2), ("n", 4, "w", 2), (3, 4, "n", 5, 2)])
def test_other_axes_may_be_dynamic(shape: tuple[int | str, ...], dtype: int) -> None:
    axis = 2 if shape[2] == 8 else 1
    result, _ = check(transform(shape, axis, dtype=dtype), {"n": 1, "w": 3}, {"n": 3, "w": 4}, ranges=RANGES)
    assert "DFT" not in op_types(result)


def test_a_batch_of_zero() -> None:
    shape = ("n", 4, 3, 5, 2)
    result, _ = rewritten(transform(shape, 1), {"n": Dim("n", 0, 2, 4)})
    assert run(result, np.zeros((0, 4, 3, 5, 2), np.float32)).shape == (0, 4, 3, 5, 2)
    assert "DFT" not in op_types(result)


@pytest.mark.parametrize(("operator", "number"), [("Mul", 0.25), ("Div", 8.0)])
def test_factors_go_into_the_matrices(operator: str, number: float) -> None:
    model = transform((2, 5, 2), 1, dtype=TensorProto.DOUBLE, factor=(operator, number))
    result, _ = check(model)
    assert not {"DFT", "Mul", "Div"} & set(op_types(result))


def test_a_factor_that_can_be_given_stays() -> None:
    model = transform((2, 5, 2), 1, factor=("Mul", 0.5))
    model.graph.input.append(helper.make_tensor_value_info("factor", TensorProto.FLOAT, []))
    result, _ = check(model)
    assert op_types(result)["Mul"] == 1
    x = values((2, 5, 2), "float32")
    given = {"x": x, "factor": np.array(3, np.float32)}
    np.testing.assert_allclose(session(result).run(None, given), session(model).run(None, given), atol=1e-5)


def test_transforms_in_a_row_pass_their_parts_on() -> None:
    first = transform((2, 4, 6, 1), 2, onesided=1)
    nodes = [*first.graph.node, helper.make_node("DFT", ["y", "", "across"], ["z"])]
    constants = [*first.graph.initializer, numpy_helper.from_array(np.array(1, np.int64), "across")]
    outputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", list(first.graph.input), outputs, constants)
    model = helper.make_model(graph, opset_imports=first.opset_import, ir_version=10)
    result, report = check(onnx.shape_inference.infer_shapes(model))
    assert op_types(result) == {"Squeeze": 1, "MatMul": 6, "Add": 2, "Unsqueeze": 2, "Concat": 1}
    assert [done.name for done in report.rewrites][:2] == ["y", "z"]


def test_a_transform_of_numbers_in_half_precision() -> None:
    model = transform((2, 5, 2), 1, dtype=TensorProto.FLOAT16)
    result, _ = rewritten(model)
    x = values((2, 5, 2), "float16")
    np.testing.assert_allclose(spectrum(run(result, x)), np.fft.fft(spectrum(x), axis=1), atol=2e-2)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (transform((2, "w", 2), 1), r"w elements along axis 1 in shape \(2, w, 2\)"),
        (transform((2, 6, 2), 1, "length"), "length is computed at run time"),
        (transform((2, 6, 2), "axis"), "axis is computed at run time"),
        (transform((2, 1025, 1), 1), "its length is 1025, more than 1024"),
        (transform((2, 1020, 2), 1, dtype=TensorProto.DOUBLE), "matrices of 8.3 MB"),
        (transform((2, 4, "n", "w", 2), 1), "the axes behind axis 1 have unknown sizes: n, w"),
    ],
)
def test_others_are_kept_with_the_reason(model: onnx.ModelProto, reason: str) -> None:
    result, report = rewritten(model, RANGES)
    assert op_types(result)["DFT"] == 1
    (refusal,) = (each for each in report.refusals if each.op_type == "DFT")
    assert refusal.node == "dft"
    assert re.search(reason, refusal.reason), refusal.reason
