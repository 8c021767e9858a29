from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import small_models
from engine_builds import calibration_in, files_of, needs_rtx, options
from small_models import make, save

from s2deploy.engine import build, read_sidecar, targets
from s2deploy.engine.request import Answer, Request
from s2deploy.engine.targets import Toolchain
from s2deploy.errors import (
    ArtifactError,
    BuildError,
    CapabilityError,
    TargetUnavailableError,
    UsageError,
)
from s2deploy.runtime import load
from s2deploy.sidecar import ProfileShapes, Proof
from s2deploy.specs import Precision, Target, parse_inputs


@pytest.fixture
def perceptron(tmp_path: Path) -> Path:
    return save(small_models.perceptron(), tmp_path / "model.onnx", semantics="clone", state='{"y": "last"}')


@pytest.fixture
def dynamic(tmp_path: Path) -> Path:
    ranges = json.dumps(["x:batch=1..8..32,16"])
    return save(small_models.perceptron("batch"), tmp_path / "model.onnx", inputs=ranges)


@needs_rtx
def test_a_plan_and_a_sidecar_that_agrees_with_it(perceptron: Path, tmp_path: Path) -> None:
    result = build(perceptron, tmp_path / "model.plan", options(target=Target.RTX))
    assert files_of(tmp_path) == {"model.onnx", "model.plan", "model.plan.json"}
    sidecar = read_sidecar(result.plan)
    assert sidecar == result.sidecar
    assert sidecar.onnx.size_bytes == perceptron.stat().st_size
    assert (sidecar.target, sidecar.precision, sidecar.semantics) == ("rtx", "fp32", "clone")
    assert sidecar.state == {"y": "last"}
    assert sidecar.capabilities == ("8.0", "8.6", "8.9", "12.0", "12.1")
    assert set(sidecar.versions) == {"tensorrt_rtx", "polygraphy", "onnx", "s2deploy"}
    assert [(tensor.name, tensor.shape, tensor.dtype) for tensor in (*sidecar.inputs, *sidecar.outputs)] == [
        ("x", (4, 16), "float32"),
        ("y", (4, 8), "float32"),
    ]
    assert sidecar.profiles == ()
    assert sidecar.options["strongly_typed"] is True
    assert 0 < sidecar.build_seconds < result.seconds


@needs_rtx
def test_fp16_serves_every_capability_and_keeps_float32_at_the_border(perceptron: Path, tmp_path: Path) -> None:
    full = build(perceptron, tmp_path / "full.plan", options(capabilities=["8.6"]))
    half = build(perceptron, tmp_path / "half.plan", options(capabilities=["8.6"], precision=Precision.FP16))
    assert half.sidecar.precision == "fp16"
    assert half.sidecar.inputs[0].dtype == half.sidecar.outputs[0].dtype == "float32"
    assert half.plan.read_bytes() != full.plan.read_bytes()
    everywhere = build(perceptron, tmp_path / "all.plan", options(precision=Precision.FP16, fp16_io=True))
    assert everywhere.sidecar.capabilities == ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
    assert everywhere.sidecar.inputs[0].dtype == everywhere.sidecar.outputs[0].dtype == "float16"


@needs_rtx
@pytest.mark.parametrize("precision", list(Precision))
def test_a_dynamic_model_takes_its_profile_from_the_export(dynamic: Path, tmp_path: Path, precision: Precision) -> None:
    data = calibration_in(tmp_path) if precision is Precision.INT8 else None
    asked = options(precision=precision, capabilities=["8.0", "8.9", "8.0"], calibration=data)
    result = build(dynamic, tmp_path / "model.plan", asked)
    word = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "int8": "int8"}[precision.value]
    assert result.sidecar.proof == Proof("network", {word: 2})
    assert result.sidecar.precision == precision.value
    assert (result.cost is None) is (precision is Precision.FP32)
    assert result.sidecar.capabilities == ("8.0", "8.9")
    assert result.sidecar.profiles == ({"x": ProfileShapes((1, 16), (8, 16), (32, 16))},)
    assert result.sidecar.inputs[0].shape == (-1, 16)
    assert read_sidecar(result.plan) == result.sidecar


@needs_rtx
def test_ranges_that_are_given_win(dynamic: Path, tmp_path: Path) -> None:
    result = build(dynamic, tmp_path / "model.plan", options(profiles=(parse_inputs(["x:n=2..4,16"]),)))
    assert result.sidecar.profiles == ({"x": ProfileShapes((2, 16), (4, 16), (4, 16))},)


@needs_rtx
def test_a_model_without_matrix_products_builds_for_turing_in_fp32(tmp_path: Path) -> None:
    path = save(small_models.convolution(), tmp_path / "model.onnx")
    assert build(path, tmp_path / "model.plan").sidecar.capabilities[0] == "7.5"


@needs_rtx
def test_a_slice_without_axes_builds(tmp_path: Path) -> None:
    model = make(
        "(float[4,8] x) => (float[2,8] y)", "y = Slice(x, start, end)", {"start": np.array([1]), "end": np.array([3])}
    )
    result = build(save(model, tmp_path / "model.onnx"), tmp_path / "model.plan", options(capabilities=["8.6"]))
    assert result.sidecar.outputs[0].shape == (2, 8)


@needs_rtx
def test_external_weights_are_found(tmp_path: Path) -> None:
    onnx.save(
        small_models.perceptron(), tmp_path / "model.onnx", save_as_external_data=True, location="weights.bin",
        size_threshold=0,
    )  # fmt: skip
    build(tmp_path / "model.onnx", tmp_path / "model.plan", options(capabilities=["8.6"]))
    build(tmp_path / "model.onnx", tmp_path / "half.plan", options(capabilities=["8.6"], precision=Precision.FP16))


@needs_rtx
def test_remarks_name_weights_that_float16_cannot_hold(tmp_path: Path) -> None:
    mask = np.triu(np.full((4, 4), -1e9, np.float32), 1)  # as attention masks are, in front of a Softmax
    model = make("(float[4,4] x) => (float[4,4] y)", "a = Add(x, mask) y = Softmax(a)", {"mask": mask})
    path = save(model, tmp_path / "model.onnx")
    result = build(path, tmp_path / "model.plan", options(capabilities=["8.6"], precision=Precision.FP16))
    assert "clipped to float16's range of +-65504: mask (up to 1e+09)" in result.remarks


@needs_rtx
@pytest.mark.parametrize(
    ("signature", "body", "message"),
    [
        ("(float[2,2] x) => (float[2] y)", "[outer] y = Det(x)", "does not support Det 'outer'"),
        ("(float[2,2] x) => (int64[2,N] y)", "y = NonZero(x)", "does not support NonZero, which makes 'y'"),
        ("(int32[2,2] x) => (int32[2,2] y)", "[mm] y = MatMul(x, x)", "(?s)MatMul 'mm'.*input type of INT32"),
        ("(float[4] x, int64[2] s) => (float[A,B] y)", "y = Reshape(x, s)", "input 's' holds sizes"),
    ],
)
def test_what_tensorrt_refuses_is_named_in_its_words(
    tmp_path: Path, signature: str, body: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = save(make(signature, body), tmp_path / "model.onnx")
    with pytest.raises(BuildError, match=message) as caught:
        build(path, tmp_path / "model.plan", options(capabilities=["8.6"]))
    assert caught.value.hint
    assert files_of(tmp_path) == {"model.onnx"}
    assert capfd.readouterr() == ("", "")


@needs_rtx
def test_a_killed_child_is_an_error_and_leaves_the_old_plan_alone(perceptron: Path, tmp_path: Path) -> None:
    plan = build(perceptron, tmp_path / "model.plan", options(capabilities=["8.6"])).plan
    before = plan.read_bytes()
    with pytest.raises(BuildError, match=r"process was killed, which is what the system does when memory runs out"):
        build(perceptron, plan, options(capabilities=["8.9"]), on_start=lambda pid: os.kill(pid, signal.SIGKILL))
    assert plan.read_bytes() == before
    assert read_sidecar(plan).capabilities == ("8.6",)
    assert files_of(tmp_path) == {"model.onnx", "model.plan", "model.plan.json"}


@needs_rtx
def test_a_crashed_child_is_an_error(perceptron: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"process crashed \(SIGSEGV\)"):
        build(perceptron, tmp_path / "model.plan", on_start=lambda pid: os.kill(pid, signal.SIGSEGV))
    assert files_of(tmp_path) == {"model.onnx"}


@needs_rtx
def test_ctrl_c_ends_the_child_and_leaves_nothing(perceptron: Path, tmp_path: Path) -> None:
    pids: list[int] = []

    def interrupt(pid: int) -> None:
        pids.append(pid)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        build(perceptron, tmp_path / "model.plan", on_start=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    assert files_of(tmp_path) == {"model.onnx"}


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"capabilities": ("9.9",)}, CapabilityError, "unknown compute capability '9.9'"),
        ({"capabilities": ("sm_86",)}, CapabilityError, "unknown compute capability 'sm_86'"),
        ({"capabilities": ("7.5", "8.6")}, CapabilityError, "7.5 has no fp32 matrix product"),
        ({"fp16_io": True}, UsageError, "--fp16-io"),
        ({"keep_fp32": ("MatMul",)}, UsageError, "--keep-fp32"),
        ({"profiles": (parse_inputs(["z:4,16"]),)}, UsageError, "there is no input 'z'"),
        ({"profiles": (parse_inputs(["x:4,17"]),)}, UsageError, "does not fit input 'x' of shape 4x16"),
        ({"profiles": (parse_inputs(["x:4,16"]),) * 2}, UsageError, "the model is static"),
        ({"timing_cache": Path("timings")}, UsageError, "RTX 1.7 takes no --timing-cache: it measures nothing"),
        ({"optimization_level": 3}, UsageError, "takes no --optimization-level"),
        ({"optimization_level": 6}, UsageError, "level 6 is not one of 0 to 5"),
        ({"version_compatible": True}, UsageError, "takes no --version-compatible"),
        ({"hardware_compatible": True}, UsageError, "takes no --hardware-compatible"),
        ({"workspace_bytes": 0}, UsageError, "a workspace of 0 bytes"),
    ],
)
@needs_rtx
def test_calls_that_cannot_be_meant(perceptron: Path, tmp_path: Path, asked, error, message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        build(perceptron, tmp_path / "model.plan", options(**asked))
    assert caught.value.hint
    assert caught.value.exit_code == 2
    assert files_of(tmp_path) == {"model.onnx"}


@needs_rtx
def test_a_dynamic_input_without_a_range(tmp_path: Path) -> None:
    path = save(small_models.perceptron("batch"), tmp_path / "model.onnx")
    with pytest.raises(UsageError, match=r"input 'x' is dynamic \(\?x16\) and has no range") as caught:
        build(path, tmp_path / "model.plan")
    assert caught.value.hint == 'say which sizes it takes: --input "x:dim0=1..8..64,16"'


@needs_rtx
def test_files_that_cannot_be_built(perceptron: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        build(tmp_path / "missing.onnx", tmp_path / "model.plan")
    with pytest.raises(UsageError, match="does not exist"):
        build(perceptron, tmp_path / "missing" / "model.plan")
    with pytest.raises(UsageError, match="would overwrite"):
        build(perceptron, perceptron)
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(perceptron.read_bytes()[:200])
    with pytest.raises(ArtifactError, match=r"damaged\.onnx"):
        build(damaged, tmp_path / "model.plan")
    assert files_of(tmp_path) == {"model.onnx", "damaged.onnx"}


def test_a_missing_package_is_named(perceptron: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "_version", lambda target: None)
    with pytest.raises(TargetUnavailableError, match="tensorrt_rtx package") as caught:
        build(perceptron, tmp_path / "model.plan", options(target=Target.RTX))
    assert caught.value.hint == 'pip install "s2deploy[rtx]"'
    with pytest.raises(TargetUnavailableError, match="no TensorRT is installed") as caught:
        build(perceptron, tmp_path / "model.plan")
    assert "s2deploy[rtx]" in caught.value.hint
    assert "s2deploy[tensorrt]" in caught.value.hint


@pytest.mark.parametrize(
    ("version", "devices", "missing"),
    [
        (None, 0, "the tensorrt package is not installed and no NVIDIA GPU"),
        ("10.16.0", 0, "cannot build here: no NVIDIA GPU with a driver"),
        (None, 1, "cannot build here: the tensorrt package is not installed$"),
    ],
)
def test_full_tensorrt_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, version: str | None, devices: int, missing: str
) -> None:
    monkeypatch.setattr(targets, "_version", lambda target: version)
    monkeypatch.setattr(targets, "count_devices", lambda: devices)
    with pytest.raises(TargetUnavailableError) as caught:
        targets.find_toolchain(Target.TENSORRT)
    assert re.search(missing, caught.value.message)


@pytest.mark.parametrize(("devices", "target"), [(0, Target.RTX), (1, Target.TENSORRT)])
def test_the_default_target_takes_what_the_machine_has(
    monkeypatch: pytest.MonkeyPatch, devices: int, target: Target
) -> None:
    monkeypatch.setattr(targets, "_version", lambda target: "10.0")
    monkeypatch.setattr(targets, "count_devices", lambda: devices)
    assert targets.find_toolchain(None) == Toolchain(target, "10.0")


@needs_rtx
def test_a_plan_cannot_be_loaded_without_its_gpu(perceptron: Path, tmp_path: Path) -> None:
    plan = build(perceptron, tmp_path / "model.plan", options(capabilities=["8.6"])).plan
    with pytest.raises(TargetUnavailableError, match=r"no NVIDIA driver|no GPU|compute capability 8\.6"):
        load(plan)


@needs_rtx
def test_modules_of_the_working_folder_do_not_reach_the_child(
    perceptron: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "polygraphy.py").write_text("raise RuntimeError('the wrong polygraphy')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [entry for entry in sys.path if entry])
    build(perceptron, tmp_path / "model.plan", options(capabilities=["8.6"]))


@pytest.mark.parametrize(
    ("version", "opset", "product", "strongly_typed"),
    [("8.6.1", 17, "FLOAT", False), ("10.16.0", 20, "FLOAT16", True)],
)
def test_full_tensorrt_gets_the_model_its_version_reads(
    perceptron: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    version: str, opset: int, product: str, strongly_typed: bool,
) -> None:  # fmt: skip
    seen: list[tuple[Request, ir.Model]] = []

    def record(request: Request, *_: object) -> Answer:
        seen.append((request, ir.load(request.model)))
        Path(request.plan).write_bytes(b"plan")
        return Answer(version=version)

    monkeypatch.setattr(targets, "_version", lambda target: version)
    monkeypatch.setattr(targets, "count_devices", lambda: 1)
    monkeypatch.setattr("s2deploy.engine.builder.run_build", record)
    result = build(perceptron, tmp_path / "model.plan", options(precision=Precision.FP16))
    ((request, model),) = seen
    assert (request.target, request.version, request.precision) == (Target.TENSORRT, version, Precision.FP16)
    assert result.sidecar.options["strongly_typed"] is strongly_typed
    assert model.opset_imports[""] == opset
    assert ("Gelu" in {node.op_type for node in model.graph}) is (opset == 20)
    assert {node.inputs[1].dtype.name for node in model.graph if node.op_type == "MatMul"} == {product}
    assert (result.sidecar.target, result.sidecar.capabilities) == ("tensorrt", ())
    assert result.sidecar.versions["tensorrt"] == version
    assert files_of(tmp_path) == {"model.onnx", "model.plan", "model.plan.json"}
