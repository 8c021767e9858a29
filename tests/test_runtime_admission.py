"""Plans on a stand-in for TensorRT and CUDA: what is checked before they are read, and what is refused."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fake_machine import VERSIONS, Machine, X, plan_writer
from fake_tensorrt import TORCH_STREAM, FakeDriver, plan_bytes

from s2deploy.errors import ArtifactError, TargetUnavailableError, UsageError
from s2deploy.runtime import load
from s2deploy.runtime.admission import check_version
from s2deploy.runtime.device import Device
from s2deploy.runtime.library import Library
from s2deploy.sidecar import Device as BuiltOn
from s2deploy.sidecar import FileIdentity, identify, sidecar_path


@pytest.fixture(autouse=True)
def torch_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2deploy.runtime.execution.current_stream", lambda tensor: TORCH_STREAM)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    return plan_writer(tmp_path)


@pytest.mark.parametrize("version", VERSIONS)
def test_host_code_runs_only_in_plans_that_were_asked_to_hold_it(write, version: str) -> None:
    for allowed in (False, True):
        machine = Machine(version)
        machine.load(write(versions={"tensorrt": version}, options={"version_compatible": allowed}))
        (runtime,) = machine.module.runtimes
        assert getattr(runtime, "engine_host_code_allowed", None) == (None if version.startswith("8.5") else allowed)


MISMATCHES = [
    (
        {"versions": {"tensorrt": "10.9.0.34"}},
        "built by TensorRT 10.9.0.34 and runs on that version alone",
        "10.9.0.34",
    ),
    (
        {"versions": {"tensorrt": "10.16.0.71"}},
        "built by TensorRT 10.16.0.71 and runs on that version alone",
        "--version-compatible",
    ),
    (
        {"versions": {"tensorrt": "11.0.0"}, "options": {"version_compatible": True}},
        r"runs on TensorRT 11.0.0 up to 12\.x; this is 10.16",
        "pip install tensorrt==11.0.0",
    ),
    (
        {"versions": {"tensorrt": "10.16.0.73"}, "options": {"version_compatible": True}},
        r"runs on TensorRT 10.16.0.73 up to 11\.x; this is 10.16.0.72",
        "pip install",
    ),
    ({"capabilities": ("7.5", "8.0")}, "compute capability 7.5 or 8.0; GPU 0, , has 8.6", "--hardware-compatible"),
    ({"device": BuiltOn("NVIDIA H200", "9.0")}, "compute capability 9.0", "--hardware-compatible"),
    (
        {"capabilities": ("9.0",)},
        "compute capability 9.0; GPU 0",
        "build it on this GPU",
    ),
    ({"target": "tpu"}, "was built for 'tpu'", "upgrade"),
    ({"plugins": (FileIdentity("shift.so", "0", 1),)}, "needs the plugin library shift.so", "copy it"),
    ({"plugins": (FileIdentity("model.plan", "0", 1),)}, r"is not the plugin library .*SHA-256", "copy it"),
    ({"plugins": (FileIdentity("../shift.so", "0", 1),)}, "no file beside it", "build the plan again"),
]


@pytest.mark.parametrize(("sidecar", "message", "hint"), MISMATCHES)
def test_what_does_not_fit_is_refused_before_tensorrt_reads_the_plan(write, sidecar, message: str, hint: str) -> None:
    machine = Machine()
    with pytest.raises((ArtifactError, TargetUnavailableError), match=message) as caught:
        machine.load(write(**sidecar))
    assert hint in str(caught.value.hint)
    assert machine.module.runtimes == []


def test_a_changed_plan_or_a_damaged_or_missing_sidecar_is_refused_before_tensorrt_reads_it(write) -> None:
    machine = Machine()
    plan = write()
    plan.write_bytes(plan.read_bytes() + b" ")
    with pytest.raises(ArtifactError, match="is not the plan"):
        machine.load(plan)
    sidecar_path(plan).write_text("{", encoding="utf-8")
    with pytest.raises(ArtifactError, match="is damaged"):
        machine.load(plan)
    sidecar_path(plan).unlink()
    with pytest.raises(ArtifactError, match="has no sidecar") as caught:
        machine.load(plan)
    assert "--unchecked tensorrt" in str(caught.value.hint)
    assert machine.module.runtimes == []
    np.testing.assert_array_equal(machine.load(plan, unchecked="tensorrt")(X)["y"], X + X)
    with pytest.raises(UsageError, match="no TensorRT family 'trt'"):
        machine.load(plan, unchecked="trt")


def test_what_fits_is_taken(write, tmp_path: Path) -> None:
    library = tmp_path / "shift.so"
    library.write_bytes(b"code")
    machine = Machine()
    for sidecar in (
        {"versions": {"tensorrt": "10.16.0"}},  # as a package without the build number calls itself
        {"versions": {"tensorrt": "8.6.1"}, "options": {"version_compatible": True}},
        {"capabilities": ("8.0", "8.6")},
        {"capabilities": ("8.0",), "options": {"hardware_compatible": True}},
        {"capabilities": ("9.0",), "options": {"hardware_compatible": True}},
        {"device": BuiltOn("NVIDIA A10", "8.6")},
        {"plugins": (identify(library),)},
    ):
        session = machine.load(write(**sidecar))
        assert bool(session.remarks) == ("device" in sidecar)
    assert machine.module.plugins == [str(library)]


@pytest.mark.parametrize(
    ("built", "here", "runs"),
    [
        ("8.6.1.6", "10.16.0.72", True), ("9.3.0.1", "10.16.0.72", True), ("10.16.0.72", "11.1.0.3", True),
        ("8.6.1.6", "11.1.0.3", False), ("9.3.0.1", "11.1.0.3", False), ("11.1.0.3", "10.16.0.72", False),
    ],
)  # fmt: skip
def test_which_major_versions_run_a_version_compatible_plan(write, built: str, here: str, runs: bool) -> None:
    plan = write(versions={"tensorrt": built}, options={"version_compatible": True})
    if runs:
        Machine(here).load(plan)
    else:
        with pytest.raises(TargetUnavailableError, match=f"this is {here}"):
            Machine(here).load(plan)


@pytest.mark.parametrize("rtx", ["1.7.1", "1.7.1.116"])
def test_rtx_runs_plans_of_its_own_release_alone(tmp_path: Path, rtx: str) -> None:
    library = SimpleNamespace(version=rtx, title="TensorRT-RTX")
    check_version(tmp_path, SimpleNamespace(versions={"tensorrt_rtx": "1.7.1.116"}, target="rtx", options={}), library)
    other = SimpleNamespace(versions={"tensorrt_rtx": "1.6.0.5"}, target="rtx", options={})
    with pytest.raises(TargetUnavailableError, match=r"runs on that version alone; this is 1\.7") as caught:
        check_version(tmp_path, other, library)
    assert caught.value.hint == "pip install tensorrt-rtx==1.6.0.5, or build the plan again on this machine"


def test_a_plan_tensorrt_refuses_is_told_in_its_words(write) -> None:
    with pytest.raises(ArtifactError, match=r"(?s)refuses the plan.*the magic tag does not match") as caught:
        Machine().load(write(b"no plan"))
    assert "nobody reads this" not in caught.value.message


@pytest.mark.parametrize(("parts", "message"), [({"dtype": "FP8"}, "is FP8"), ({"location": "HOST"}, "holds sizes")])
def test_engines_that_cannot_be_called_are_refused_at_once(write, parts, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        Machine().load(write(plan_bytes(**parts)))


@pytest.mark.parametrize(("driver", "message"), [({"devices": 0}, "finds no GPU"), ({"devices": 2}, "no GPU 5: .* 2")])
def test_a_gpu_that_is_not_there(driver, message: str) -> None:
    with pytest.raises(TargetUnavailableError, match=message):
        Device(5, FakeDriver(**driver))


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed")
def test_the_real_rtx_has_every_name_that_is_used(write) -> None:
    import tensorrt_rtx

    machine = Machine()
    session = machine.load(write(plan_bytes(positive=True)), cuda_graphs=True)
    session(X)
    assert machine.module.used["IExecutionContext"] >= {"execute_async_v3", "set_tensor_address", "infer_shapes"}
    for name, used in machine.module.used.items():
        assert [attribute for attribute in used if not hasattr(getattr(tensorrt_rtx, name), attribute)] == []


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed")
def test_the_real_rtx_refuses_what_is_no_plan_in_its_own_words() -> None:
    with pytest.raises(ArtifactError, match=r"(?s)TensorRT-RTX .* refuses the plan.*magicTag"):
        Library("rtx").deserialize(b"no plan" * 100, host_code=False, plugins=())


def test_arguments_go_with_their_kind_of_file(write, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="provider is for ONNX files"):
        load(write(), provider="cpu")
    (tmp_path / "model.onnx").touch()
    with pytest.raises(UsageError, match="cuda_graphs is for plans"):
        load(tmp_path / "model.onnx", cuda_graphs=True)
    with pytest.raises(ArtifactError, match="has no sidecar"):
        load(write().rename(tmp_path / "other.engine"))
