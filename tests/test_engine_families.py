"""Each family's way from a request to a plan, on a recording fake with nothing a real version lacks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from engine_builds import carry_out, named, request
from small_models import make, weights

from s2deploy.engine.families import RTX, AlwaysTyped, Family, StronglyTyped, WeaklyTyped, family_of
from s2deploy.engine.products import Product, dtype_word, inspected_products, wider
from s2deploy.errors import CapabilityError, UsageError
from s2deploy.options import BuildOptions, PrecisionOptions
from s2deploy.sidecar import Device, ProfileShapes
from s2deploy.specs import Precision, Target


def flags_of(calls: list[list[str]]) -> set[str]:
    return {call[1] for call in calls if call[0] == "IBuilderConfig.set_flag"}


@pytest.mark.parametrize(
    ("target", "version", "kind"),
    [
        (Target.TENSORRT, "8.5.3.1", WeaklyTyped), (Target.TENSORRT, "9.3.0.post12.dev1", WeaklyTyped),
        (Target.TENSORRT, "10.0.1", StronglyTyped), (Target.TENSORRT, "11.1", AlwaysTyped),
        (Target.RTX, "1.7.1.116", RTX),
    ],
)  # fmt: skip
def test_the_family_of_a_version(target: Target, version: str, kind: type[Family]) -> None:
    assert type(family_of(target, version)) is kind


@pytest.mark.parametrize(
    ("target", "version", "options", "refused"),
    [
        (Target.TENSORRT, "8.5", {"optimization_level": 3}, "TensorRT 8.5 takes no --optimization-level"),
        (Target.TENSORRT, "8.5", {"version_compatible": True}, "takes no --version-compatible"),
        (Target.TENSORRT, "8.5", {"hardware_compatible": True}, "takes no --hardware-compatible"),
        (Target.TENSORRT, "8.6", {"typing": PrecisionOptions(Precision.BF16)}, "TensorRT 8.6 takes no --bf16"),
        (Target.TENSORRT, "11.1", {"capabilities": ("8.6",)}, "TensorRT 11.1 takes no --compute-capability"),
        (Target.RTX, "1.7", {"timing_cache": Path("t")}, "TensorRT-RTX 1.7 takes no --timing-cache"),
    ],
)
def test_what_a_family_lacks_is_refused_by_name(target: Target, version: str, options, refused: str) -> None:
    with pytest.raises(UsageError, match=refused) as caught:
        family_of(target, version).check(BuildOptions(**options))
    assert caught.value.hint
    assert isinstance(caught.value, CapabilityError) is ("capability" in refused)


@pytest.mark.parametrize("version", ["8.6", "9.3", "10.16", "11.1"])
def test_what_a_family_has_is_taken(version: str) -> None:
    options = BuildOptions(
        optimization_level=5,
        version_compatible=True,
        hardware_compatible=True,
        timing_cache=Path("t"),
        workspace_bytes=9,
    )
    family_of(Target.TENSORRT, version).check(options)


@pytest.mark.parametrize(("version", "flag"), [("8.5", "FP16"), ("9.3", "BF16")])
def test_weak_typing_holds_products_to_the_type_and_kept_nodes_and_sums_to_float32(
    tmp_path: Path, version: str, flag: str
) -> None:
    body = "a = MatMul(x, w) m = ReduceMean<keepdims=1>(a) b = Add(a, m) y = MatMul(b, v)"
    model = named(make("(float[4,16] x) => (float[4,8] y)", body, {"w": weights(16, 32), "v": weights(32, 8)}, 17))
    precision = Precision(flag.lower())
    calls, answer = carry_out(version, request(tmp_path, version, model, precision=precision, kept=("y",), tf32=False))
    word = {"FP16": "HALF", "BF16": "BF16"}[flag]
    demands = {call[1]: call[2] for call in calls if call[0] == "ILayer.precision"}
    assert demands == {"a": f"DataType.{word}", "m": "DataType.FLOAT", "y": "DataType.FLOAT"}
    assert flags_of(calls) == {flag, "OBEY_PRECISION_CONSTRAINTS"}
    assert ["IBuilderConfig.clear_flag", "TF32"] in calls
    assert ["Builder.create_network", "EXPLICIT_BATCH"] in calls
    narrow = {"FP16": "float16", "BF16": "bfloat16"}[flag]
    assert [(product.node, product.dtype) for product in answer.products] == [("a", narrow), ("y", "float32")]
    assert answer.products == answer.inspected
    assert wider(answer.products, precision, ("y",)) == ()
    assert (answer.device, answer.tf32) == (Device("NVIDIA Fake", "9.0"), False)


def test_weak_typing_of_inputs_and_outputs(tmp_path: Path) -> None:
    _, answer = carry_out("8.5", request(tmp_path, "8.5", precision=Precision.FP16, io_16bit=True))
    assert [tensor.dtype for tensor in (*answer.inputs, *answer.outputs)] == ["float16", "float16"]


def test_a_kernel_that_stayed_wide_is_seen_in_the_engine_alone(tmp_path: Path) -> None:
    _, answer = carry_out("8.5", request(tmp_path, "8.5", precision=Precision.FP16), stubborn=("y",))
    assert wider(answer.products, Precision.FP16, ()) == ()
    assert wider(answer.inspected, Precision.FP16, ()) == (Product("y", "matrix_multiply", "float32"),)


@pytest.mark.parametrize(("version", "creation"), [("10.16", ["STRONGLY_TYPED"]), ("11.1", [])])
def test_strong_typing_leaves_precision_to_the_graph(tmp_path: Path, version: str, creation: list[str]) -> None:
    body = "h = Cast<to=10>(x) a = MatMul(h, w) y = Cast<to=1>(a)"
    model = named(make("(float[4,16] x) => (float[4,8] y)", body, {"w": weights(16, 8, dtype=np.float16)}))
    calls, answer = carry_out(version, request(tmp_path, version, model, precision=Precision.FP16))
    assert ["Builder.create_network", *creation] in calls
    assert flags_of(calls) == {"TF32"}
    assert not any(call[0].startswith("ILayer.") for call in calls)
    assert answer.products == answer.inspected == (Product("a", "matrix_multiply", "float16"),)
    assert not any("engine_host_code_allowed" in call[0] for call in calls)


@pytest.mark.parametrize("version", ["9.3", "10.16", "11.1"])
def test_every_setting_reaches_the_builder(tmp_path: Path, version: str) -> None:
    profiles = ({"x": ProfileShapes((1, 16), (1, 16), (4, 16))}, {"x": ProfileShapes((8, 16), (9, 16), (32, 16))})
    settings = {"workspace_bytes": 5, "optimization_level": 2, "version_compatible": True, "hardware_compatible": True}
    calls, answer = carry_out(version, request(tmp_path, version, profiles=profiles, **settings))
    assert ["IBuilderConfig.set_memory_pool_limit", "WORKSPACE", "5"] in calls
    assert ["IBuilderConfig.builder_optimization_level", "", "2"] in calls
    assert ["IBuilderConfig.hardware_compatibility_level", "", "HardwareCompatibilityLevel.AMPERE_PLUS"] in calls
    assert "VERSION_COMPATIBLE" in flags_of(calls)
    assert [call[2:] for call in calls if call[0] == "IOptimizationProfile.set_shape"] == [
        ["(1, 16)", "(1, 16)", "(4, 16)"],
        ["(8, 16)", "(9, 16)", "(32, 16)"],
    ]
    # only a version-compatible plan may bring code of its own
    assert ["Runtime.engine_host_code_allowed", "", "True"] in calls
    assert answer.version == f"{version}.0"


def test_the_second_build_gets_the_measurements_of_the_first(tmp_path: Path) -> None:
    asked = request(tmp_path, "10.16", timing_cache=str(tmp_path / "timings"))
    first, _ = carry_out("10.16", asked)
    second, answer = carry_out("10.16", asked)
    assert ["IBuilderConfig.set_timing_cache", "measured"] not in first
    assert ["IBuilderConfig.set_timing_cache", "measured"] in second
    assert answer.remarks == ()
    assert (tmp_path / "timings" / "10.16.0-NVIDIA-Fake-9.0.timings").is_file()


def test_quantized_products_are_told_by_what_feeds_them(tmp_path: Path) -> None:
    body = (
        "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) e = DequantizeLinear(w, s, z) "
        "a = MatMul(d, e) y = MatMul(a, v)"
    )
    given = {
        "s": np.float32(0.1), "z": np.int8(0), "w": np.ones((16, 8), np.int8), "v": weights(8, 8),
    }  # fmt: skip
    model = named(make("(float[4,16] x) => (float[4,8] y)", body, given, 17))
    calls, answer = carry_out("8.5", request(tmp_path, "8.5", model, precision=Precision.INT8))
    assert [(product.node, product.dtype) for product in answer.products] == [("a", "int8"), ("y", "float32")]
    assert wider(answer.products, Precision.INT8, ()) == (Product("y", "matrix_multiply", "float32"),)
    assert flags_of(calls) == {"INT8", "OBEY_PRECISION_CONSTRAINTS", "TF32"}


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("Channel major FP16 format where channel % 8 == 0", "float16"), ("Half", "float16"),
        ("Row major linear FP32", "float32"), ("Float", "float32"), ("BFloat16", "bfloat16"),
        ("Row major linear BFloat16 format", "bfloat16"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("Row major linear FP8 format", "float8"), ("N/A due to dynamic shapes", "unknown"),
    ],
)  # fmt: skip
def test_words_of_the_inspector(text: str, dtype: str) -> None:
    assert dtype_word(text) == dtype


@pytest.mark.parametrize("ends", ["Bindings", "I/O Tensors"])
def test_both_shapes_of_the_inspector(ends: str) -> None:
    half, full = ({"Name": "t", "Format/Datatype": text} for text in ("Half", "Float"))
    convolution = {
        "Name": "c + r", "LayerType": "CaskConvolution", "ParameterType": "Convolution", "Inputs": [half],
        "Outputs": [],
        "Weights": {"Type": "Half", "Count": 9}, "Bias": {"Type": "Float", "Count": 1},
    }  # fmt: skip
    # a third input is a bias, which may stay float32
    gemm = {
        "Name": "g_myl0", "LayerType": "gemm", "Inputs": [half, half, full], "Outputs": [half],
        "Metadata": "[ONNX Layer: g]\x1f[ONNX Layer: h]",
    }  # fmt: skip
    wide = {"Name": "w", "LayerType": "MatrixMultiply", "Inputs": [half, full], "Outputs": [], "Metadata": ""}
    other = {"Name": "p", "LayerType": "CudaPooling", "ParameterType": "Pooling", "Inputs": [full], "Outputs": []}
    found = inspected_products(json.dumps({"Layers": [convolution, gemm, wide, other, "a name"], ends: ["x"]}))
    assert found == (
        Product("c + r", "convolution", "float16"),
        Product("g + h", "gemm", "float16"),
        Product("w", "matrixmultiply", "float32"),
    )
    assert wider(found, Precision.FP16, ()) == found[2:]
    assert wider(found, Precision.FP16, ("w",)) == ()
    assert wider(found, Precision.INT8, ("r", "h")) == found[2:]
