"""int8: Q/DQ pairs in front of heavy operators alone, ranges out of calibration, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from small_models import convolution, make, perceptron, weights

from s2deploy.errors import ArtifactError, BuildError, InputSpecError, UsageError
from s2deploy.options import Calibrator, PrecisionOptions
from s2deploy.precision import Typed, typed
from s2deploy.precision.probes import run
from s2deploy.precision.ranges import entropy_threshold
from s2deploy.specs import Precision

INT8 = Precision.INT8


def calibrate(folder: Path, model: onnx.ModelProto, count: int = 2) -> Path:
    """Saves random feeds that fit a model; a dynamic size is 3, 4, ..."""
    folder.mkdir(exist_ok=True)
    for index in range(count):
        arrays = {}
        for value in model.graph.input:
            shape = [dim.dim_value or 3 + index for dim in value.type.tensor_type.shape.dim]
            arrays[value.name] = weights(*shape, seed=100 + index)
        np.savez(folder / f"{index}.npz", **arrays)
    return folder


def quantized(
    model: onnx.ModelProto, calibration: Path, calibrator: Calibrator = Calibrator.MINMAX, keep: tuple[str, ...] = ()
) -> Typed:
    options = PrecisionOptions(INT8, keep_fp32=keep, calibration=calibration, calibrator=calibrator)
    return typed(ir.from_proto(model), options)


def factors(model: ir.Model) -> dict[str, list[str]]:
    """Returns, by name of each heavy node, what computes its two factors."""
    return {
        str(node.name): [value.producer().op_type if value.producer() else "" for value in node.inputs[:2]]
        for node in model.graph
        if node.op_type in ("MatMul", "Gemm", "Conv", "ConvTranspose")
    }


MODELS = {
    "perceptron": perceptron(),
    "dynamic": perceptron("N"),
    "convolution": convolution(),
    "grouped": make(
        "(float[1,4,8,8] x) => (float[1,8,8,8] y)",
        "y = Conv<group = 4, pads = [1, 1, 1, 1]>(x, w, b)",
        {"w": weights(8, 1, 3, 3), "b": weights(8)},
    ),
    "transposed": make(
        "(float[1,3,8,8] x) => (float[1,4,17,17] y)",
        "y = ConvTranspose<strides = [2, 2]>(x, w)",
        {"w": weights(3, 4, 3, 3)},
    ),
    "gemm": make(
        "(float[4,16] x) => (float[4,8] y)",
        "y = Gemm<transB = 1, alpha = 0.5, beta = 3.0>(x, w, b)",
        {"w": weights(8, 16), "b": weights(8)},
    ),
    "batched": make("(float[2,4,16] x) => (float[2,4,8] y)", "y = MatMul(x, w)", {"w": weights(2, 16, 8)}),
    "left": make("(float[16,4] x) => (float[8,4] y)", "y = MatMul(w, x)", {"w": weights(8, 16)}),
    "attention": make(
        "(float[2,4,16] x) => (float[2,4,16] y)",
        "t = Transpose<perm = [0, 2, 1]>(x) s = MatMul(x, t) p = Softmax(s) y = MatMul(p, x)",
    ),
    "old": make("(float[4,16] x) => (float[4,8] y)", "y = MatMul(x, w)", {"w": weights(16, 8)}, opset=13),
}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_heavy_operators_read_their_factors_from_int8(name: str, tmp_path: Path) -> None:
    result = quantized(MODELS[name], calibrate(tmp_path, MODELS[name]))
    assert all(kinds == ["DequantizeLinear"] * 2 for kinds in factors(result.model).values())
    onnx.checker.check_model(ir.to_proto(result.model), full_check=True)
    assert result.cost is not None
    assert result.cost.calibrated
    assert not result.cost.broken
    (output,) = result.cost.outputs
    assert 0.999 < output.cosine < 1
    for node in result.model.graph:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = node.inputs[2].const_value.numpy()
            assert zero.dtype == np.int8
            assert not zero.any()


def test_weights_have_a_scale_per_output_channel(tmp_path: Path) -> None:
    axes = {"perceptron": (1, 32), "batched": (2, 8), "gemm": (0, 8), "convolution": (0, 4), "transposed": (1, 4)}
    for name, (axis, channels) in axes.items():
        graph = quantized(MODELS[name], calibrate(tmp_path / name, MODELS[name])).model.graph
        pair = next(node for node in graph if node.op_type == "QuantizeLinear" and node.inputs[0].name == "w")
        assert pair.inputs[1].const_value.shape == (channels,)
        assert pair.attributes.get_int("axis") % len(pair.inputs[0].shape) == axis
    left = quantized(MODELS["left"], calibrate(tmp_path / "left", MODELS["left"])).model.graph
    pair = next(node for node in left if node.op_type == "QuantizeLinear" and node.inputs[0].name == "w")
    assert pair.inputs[1].const_value.shape == ()


def test_one_large_channel_does_not_coarsen_the_others(tmp_path: Path) -> None:
    w = weights(16, 8)
    w[:, 3] *= 1000
    model = make("(float[4,16] x) => (float[4,8] y)", "y = MatMul(x, w)", {"w": w})
    result = quantized(model, calibrate(tmp_path, model))
    x = weights(4, 16, seed=100)
    ((outputs, _),) = run(result.model, [{"x": x}])
    np.testing.assert_allclose(np.delete(outputs["y"], 3, 1), np.delete(x @ w, 3, 1), rtol=0, atol=0.25)


def test_movement_and_shape_arithmetic_stay_as_they_are(tmp_path: Path) -> None:
    model = make(
        "(float[N,8,8,16] x) => (float[A,16] y)",
        """
        a = MatMul(x, w) u = Slice(a, zero, one, one) d = Slice(a, zero, seven, one) c = Concat<axis = 1>(u, d)
        n = Shape<start = 0, end = 1>(x) real = Cast<to = 1>(n) many = Mul(real, rows) whole = Cast<to = 7>(many)
        to = Concat<axis = 0>(whole, sixteen) flat = Reshape(c, to) y = MatMul(flat, v)
        """,
        {
            "w": weights(16, 16),
            "v": weights(16, 16),
            "zero": np.array([0]),
            "one": np.array([1]),
            "seven": np.array([7]),
            "rows": np.array([64], np.float32),
            "sixteen": np.array([16]),
        },
    )
    result = quantized(model, calibrate(tmp_path, model))
    by_type = [
        node.op_type for node in result.model.graph if node.op_type not in ("QuantizeLinear", "DequantizeLinear")
    ]
    assert by_type == [node.op_type for node in model.graph.node]
    assert by_type.count("Slice") == 2
    pairs = [node for node in result.model.graph if node.op_type == "QuantizeLinear"]
    assert {node.inputs[0].name for node in pairs} == {"x", "w", "v", "flat"}  # behind the shift, once


def test_what_is_kept_stays_float32(tmp_path: Path) -> None:
    model = make(
        "(float[4,16] x) => (float[4,8] y)",
        "[first] a = MatMul(x, w) [last] y = MatMul(a, v)",
        {"w": weights(16, 16), "v": weights(16, 8)},
    )
    result = quantized(model, calibrate(tmp_path, model), keep=("last",))
    assert factors(result.model) == {"first": ["DequantizeLinear"] * 2, "last": ["MatMul", ""]}
    assert result.kept == ("last",)
    with pytest.raises(BuildError, match="nothing to compute in int8"):
        quantized(model, tmp_path, keep=("MatMul",))


def test_an_operator_without_an_int8_form_must_be_kept_by_name(tmp_path: Path) -> None:
    model = make(
        "(float[4,16] x) => (float[4,8] y)",
        "a = MatMul(x, w) [sum] y = Einsum<equation = 'ij,jk->ik'>(a, v)".replace("'", '"'),
        {"w": weights(16, 16), "v": weights(16, 8)},
    )
    calibrate(tmp_path, model)
    with pytest.raises(BuildError, match="in float32 instead of int8: Einsum 'sum'") as caught:
        quantized(model, tmp_path)
    assert "--keep-fp32" in str(caught.value.hint)
    assert quantized(model, tmp_path, keep=("Einsum",)).kept == ("sum",)


def test_entropy_clips_outliers_that_would_coarsen_every_step(tmp_path: Path) -> None:
    model = make("(float[64,256] x) => (float[64,8] y)", "y = MatMul(x, w)", {"w": weights(256, 8)})
    x = weights(64, 256, seed=1)
    x[0, 0] = 400.0
    np.savez(tmp_path / "0.npz", x=x)
    scales = {}
    for calibrator in Calibrator:
        graph = quantized(model, tmp_path, calibrator).model.graph
        pair = next(node for node in graph if node.op_type == "QuantizeLinear" and node.inputs[0].name == "x")
        scales[calibrator] = 127 * float(pair.inputs[1].const_value.numpy())
    assert scales[Calibrator.MINMAX] == pytest.approx(400)
    assert 3 < scales[Calibrator.ENTROPY] < 100


def test_entropy_takes_the_whole_range_of_few_or_even_values() -> None:
    few = np.histogram(np.abs(weights(300)), 2048)[0]
    assert entropy_threshold(few) == 1
    assert entropy_threshold(np.full(2048, 100)) == 1
    assert entropy_threshold(np.zeros(2048, np.int64)) == 1


def test_entropy_clips_the_tail_of_many_values() -> None:
    magnitudes = np.abs(np.random.default_rng(0).laplace(size=1_000_000))
    share = entropy_threshold(np.histogram(magnitudes, 2048, range=(0, magnitudes.max()))[0])
    clipped = float(np.mean(magnitudes > share * magnitudes.max()))
    assert 0 < clipped < 0.01


def test_a_value_that_is_always_zero_is_quantised(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", np.zeros((4, 16), np.float32))
    for calibrator in Calibrator:
        result = quantized(perceptron(), tmp_path, calibrator)
        assert result.cost is not None
        assert not result.cost.broken


def test_a_model_that_is_quantised_already_keeps_its_scales(tmp_path: Path) -> None:
    once = quantized(perceptron(), calibrate(tmp_path, perceptron()))
    again = typed(ir.from_proto(ir.to_proto(once.model)), PrecisionOptions(INT8))
    assert again.remarks == ("the model is quantised already; its own scales are kept",)
    assert [node.op_type for node in again.model.graph] == [node.op_type for node in once.model.graph]


def test_a_model_that_is_quantised_in_part_is_refused_by_name(tmp_path: Path) -> None:
    model = make(
        "(float[4,16] x) => (float[4,8] y)",
        "[first] a = MatMul(x, w) [last] y = MatMul(a, v)",
        {"w": weights(16, 16), "v": weights(16, 8)},
    )
    half = quantized(model, calibrate(tmp_path, model), keep=("last",))
    with pytest.raises(BuildError, match="computed in float32 instead of int8: MatMul 'last'"):
        typed(ir.from_proto(ir.to_proto(half.model)), PrecisionOptions(INT8))


def test_int8_without_calibration_says_how_to_give_it() -> None:
    with pytest.raises(UsageError, match="int8 needs calibration data") as caught:
        typed(ir.from_proto(perceptron()), PrecisionOptions(INT8))
    assert "numpy.savez('folder/0.npz', x=array)" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": weights(4, 16)}, "0.npz holds z, but the inputs are x"),
        ({}, "0.npz holds nothing, but the inputs are x"),
        ({"x": weights(4, 16).astype(np.float64)}, "'x' is float64, but the input is float32"),
        ({"x": weights(4, 15)}, "'x' has shape 4x15, but the input has 4x16"),
        ({"x": weights(3, 4, 16)}, "'x' has shape 3x4x16, but the input has 4x16"),
        ({"x": np.full((4, 16), np.nan, np.float32)}, "infinite or not a number"),
        ({"x": np.full((4, 16), np.inf, np.float32)}, "infinite or not a number"),
    ],
)
def test_calibration_data_that_does_not_fit_is_refused_by_file(
    arrays: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "0.npz", **arrays)
    with pytest.raises(InputSpecError, match=message) as caught:
        quantized(perceptron(), tmp_path / "0.npz")
    assert "0.npz" in caught.value.message
    assert caught.value.hint


def test_sizes_of_one_name_must_agree_within_a_feed(tmp_path: Path) -> None:
    model = make(
        "(float[N,16] x, float[N,16] z) => (float[N,8] y)", "a = Add(x, z) y = MatMul(a, w)", {"w": weights(16, 8)}
    )
    np.savez(tmp_path / "0.npz", x=weights(3, 16), z=weights(4, 16))
    with pytest.raises(InputSpecError, match="'N' is 4 in 'z' but 3 in 'x'"):
        quantized(model, tmp_path)
    np.save(tmp_path / "0.npy", weights(3, 16))
    with pytest.raises(InputSpecError, match="holds one array, but the model has the inputs x, z"):
        quantized(model, tmp_path / "0.npy")


def test_folders_and_files_that_are_no_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        quantized(perceptron(), tmp_path / "missing")
    with pytest.raises(UsageError, match=r"holds neither \.npz nor \.npy"):
        quantized(perceptron(), tmp_path)
    for name in ("a.npz", "a.npy"):
        (tmp_path / name).write_bytes(b"no array")
        with pytest.raises(ArtifactError, match="does not hold plain arrays"):
            quantized(perceptron(), tmp_path / name)


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(ArtifactError, match="does not hold plain arrays"):
        quantized(perceptron(), tmp_path)


def test_a_model_that_is_not_finite_on_the_data_is_refused(tmp_path: Path) -> None:
    model = make("(float[4,16] x) => (float[4,8] y)", "[log] a = Log(x) y = MatMul(a, w)", {"w": weights(16, 8)})
    np.save(tmp_path / "0.npy", np.zeros((4, 16), np.float32))
    with pytest.raises(BuildError, match="infinite or not a number in float32: a"):
        quantized(model, tmp_path)


def test_an_opset_without_scales_per_channel_is_refused(tmp_path: Path) -> None:
    model = make("(float[4,16] x) => (float[4,8] y)", "y = MatMul(x, w)", {"w": weights(16, 8)}, opset=12)
    with pytest.raises(BuildError, match="opset 12; scales per channel need 13"):
        quantized(model, calibrate(tmp_path, model))
