from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import small_models
import torch

from s2deploy.errors import ArtifactError, S2DeployError, TargetUnavailableError, UsageError
from s2deploy.runtime import OnnxSession, Session, TensorInfo, load
from s2deploy.runtime.tensors import from_torch


@pytest.fixture
def dynamic(tmp_path: Path) -> Session:
    model = small_models.make(
        "(float[batch,3] x, float[batch,3] z, int64 n) => (float[batch,3] total, int64 m)",
        "total = Add(x, z) m = Add(n, n)",
    )
    inputs = json.dumps(["x:batch=2..8,3", "z:batch,3", "n::int64"])
    return load(small_models.save(model, tmp_path / "model.onnx", inputs=inputs))


X = np.arange(12, dtype=np.float32).reshape(4, 3)
N = np.array(3, np.int64)


def test_a_session_describes_its_model(dynamic: Session) -> None:
    assert dynamic.inputs == (
        TensorInfo("x", ("batch", 3), "float32"),
        TensorInfo("z", ("batch", 3), "float32"),
        TensorInfo("n", (), "int64"),
    )
    assert [str(info) for info in dynamic.outputs] == ["total:batch,3:float32", "m::int64"]
    assert list(dynamic.metadata) == ["s2deploy.inputs"]
    assert [str(spec) for spec in dynamic.specs] == ["x:batch=2..8,3", "z:batch=2..8,3", "n::int64"]


@pytest.mark.parametrize(
    "call",
    [
        lambda session: session(X, X, N),
        lambda session: session(x=X, z=X, n=N),
        lambda session: session({"n": N, "z": X, "x": X}),
        lambda session: session(X, n=np.int64(3), z=X),
    ],
)
def test_inputs_are_given_by_position_name_or_mapping(dynamic: Session, call) -> None:
    outputs = call(dynamic)
    assert list(outputs) == ["total", "m"]
    np.testing.assert_array_equal(outputs["total"], X + X)
    assert outputs["m"] == 6


def test_arrays_need_not_be_contiguous(dynamic: Session) -> None:
    view = np.ascontiguousarray(X.T).T
    assert not view.flags.c_contiguous
    np.testing.assert_array_equal(dynamic(view, X[::-1], N)["total"], X + X[::-1])


@pytest.mark.parametrize("order", ["C", "F"])
def test_inputs_of_no_size_and_of_any_order(tmp_path: Path, order: str) -> None:
    session = load(small_models.save(small_models.perceptron("N"), tmp_path / "model.onnx"))
    for batch in (0, 1, 5):
        x = np.asarray(np.random.default_rng(batch).standard_normal((batch, 16)), np.float32, order=order)
        expected = session(np.ascontiguousarray(x))["y"]
        assert expected.shape == (batch, 8)
        np.testing.assert_array_equal(session(x)["y"], expected)
        np.testing.assert_array_equal(session(torch.from_numpy(x))["y"].numpy(), expected)
        np.testing.assert_array_equal(session(torch.from_numpy(x.T.copy()).T)["y"].numpy(), expected)


def test_tensors_are_bound_where_they_lie(dynamic: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "_run_torch", None)
    tensor = torch.from_numpy(X.copy())
    before = tensor.clone()
    outputs = dynamic(x=tensor, z=tensor.flip(0), n=N)
    assert torch.equal(outputs["total"], before + before.flip(0))
    assert torch.equal(tensor, before)
    outputs["total"] += 1  # the memory is the caller's own
    assert torch.equal(dynamic(x=tensor, z=tensor.flip(0), n=N)["total"], before + before.flip(0))


class Foreign:
    """An array of a framework that speaks DLPack and follows the array API standard."""

    def __init__(self, array: object) -> None:
        self.array = np.asarray(array)

    def __dlpack__(self, **arguments: object) -> object:
        return self.array.__dlpack__(**arguments)

    def __dlpack_device__(self) -> object:
        return self.array.__dlpack_device__()

    def __array_namespace__(self) -> object:
        return Foreign

    @staticmethod
    def from_dlpack(array: object) -> Foreign:
        return Foreign(array)


def test_arrays_that_speak_dlpack_come_back_as_their_own_kind(dynamic: Session) -> None:
    outputs = dynamic(x=Foreign(X), z=X, n=N)
    assert isinstance(outputs["total"], Foreign)
    np.testing.assert_array_equal(outputs["total"].array, X + X)


def test_dlpack_without_a_namespace_comes_back_as_numpy(dynamic: Session) -> None:
    class Plain:
        def __dlpack__(self, **arguments: object) -> object:
            return torch.from_numpy(X).__dlpack__(**arguments)

        def __dlpack_device__(self) -> object:
            return torch.from_numpy(X).__dlpack_device__()

    assert type(dynamic(x=Plain(), z=X, n=N)["total"]) is np.ndarray
    Plain.__dlpack__ = lambda self, **arguments: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="a Plain, cannot be taken over by DLPack: division by zero"):
        dynamic(x=Plain(), z=X, n=N)


def test_threads_share_a_session(dynamic: Session) -> None:
    barrier = threading.Barrier(2)

    def work(value: int) -> bool:
        barrier.wait()
        x = np.full((2 + value, 3), value, np.float32)
        tensor = torch.from_numpy(x)
        return all(
            np.array_equal(dynamic(x, x, N)["total"], x + x) and torch.equal(dynamic(tensor, x, N)["total"], tensor * 2)
            for _ in range(100)
        )

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(work, range(2)))


def test_providers_are_chosen_by_name(tmp_path: Path) -> None:
    path = small_models.save(small_models.perceptron(), tmp_path / "model.onnx")
    for name in ("cpu", "CPU", "CPUExecutionProvider"):
        assert load(path, provider=name).backend.endswith(", CPU")
    with pytest.raises(UsageError, match=r"has no execution provider 'tpu'; it has: .*cpu"):
        load(path, provider="tpu")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_is_there_but_does_not_work_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    path = small_models.save(small_models.perceptron(), tmp_path / "model.onnx")
    with pytest.raises(TargetUnavailableError, match="cannot use CUDAExecutionProvider"):
        load(path, provider="cuda")


def test_random_values_follow_the_ranges_of_the_export(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    small_models.save(small_models.perceptron(), path, inputs='["x:4,16"]', value_ranges='{"x": [3.0, 4.5]}')
    assert load(path).specs[0].value_range == (3.0, 4.5)


def test_torch_tensors_in_give_torch_tensors_out(dynamic: Session) -> None:
    tensor = torch.from_numpy(X.copy()).requires_grad_()
    outputs = dynamic(x=tensor, z=X, n=N)
    assert isinstance(outputs["total"], torch.Tensor)
    assert torch.equal(outputs["total"], tensor.detach() * 2)
    assert outputs["m"].dtype is torch.int64


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "bfloat16"])
def test_a_tensor_of_a_type_that_numpy_lacks_is_an_array_all_the_same(dtype: str) -> None:
    tensor = torch.tensor([[1.5, -2.0], [0.0, 448.0]]).to(getattr(torch, dtype))
    array = from_torch(tensor.T)
    assert array.dtype == getattr(ml_dtypes, dtype)
    np.testing.assert_array_equal(array.astype(np.float32), tensor.T.float().numpy())


@pytest.mark.filterwarnings("ignore:ComplexHalf:UserWarning")
def test_a_tensor_without_arrays_of_its_type_is_named() -> None:
    with pytest.raises(S2DeployError, match=r"there are no arrays of torch\.complex32"):
        from_torch(torch.zeros(2, dtype=torch.complex32))


def test_outputs_that_are_new_values_of_buffers_are_told(tmp_path: Path) -> None:
    def saved(state: str) -> Session:
        model = small_models.make("(float[2] x) => (float[2] y, float[2] last_out)", "y = Neg(x) last_out = Abs(x)")
        return load(small_models.save(model, tmp_path / "model.onnx", state=state))

    assert saved(json.dumps({"last_out": "block.last"})).state == {"last_out": "block.last"}
    with pytest.raises(ArtifactError, match=r"s2deploy\.state is damaged"):
        saved("[").state  # noqa: B018


@pytest.mark.parametrize("batch", [0, 3])
def test_bfloat16_goes_in_and_out(tmp_path: Path, batch: int) -> None:
    model = small_models.make(
        "(bfloat16[N,3] x) => (bfloat16[N,3] y, float[N,3] wide)", "y = Identity(x) wide = Cast<to = 1>(x)"
    )
    session = load(small_models.save(model, tmp_path / "model.onnx"))
    array = np.full((batch, 3), 1.5, ml_dtypes.bfloat16)
    outputs = session(array)
    assert outputs["y"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(outputs["y"], array)
    assert torch.equal(
        session(torch.full((batch, 3), 1.5, dtype=torch.bfloat16))["y"].float(), torch.full((batch, 3), 1.5)
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda session: session(X, X), "input 'n' is missing"),
        (lambda session: session(X, X, N, N), "4 inputs are given, the model has 3"),
        (lambda session: session(X, X, N, y=X), "there is no input 'y'"),
        (lambda session: session(X, X, N, x=X), "input 'x' is given twice"),
        (lambda session: session([1.0], X, N), "input 'x' is a list"),
        (lambda session: session(X.astype(np.float64), X, N), "input 'x' is float32 but the array is float64"),
        (lambda session: session(torch.ones(4, 3).double(), X, N), "input 'x' is float32 but the array is float64"),
        (lambda session: session(X[0], X, N), "input 'x' has rank 2"),
        (lambda session: session(X[:, :2], X, N), "axis 1 has size 2, the model takes 3"),
        (lambda session: session(X, X[:3], N), "dimension 'batch' is 4 in input 'x' but 3 in input 'z'"),
        (
            lambda session: session(X[:1], X[:1], N),
            "axis 0 has size 1, the model was exported and proved for batch=2..8",
        ),
    ],
)
def test_wrong_inputs_are_refused_before_anything_runs(dynamic: Session, call, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        call(dynamic)
    assert caught.value.hint


def test_sizes_are_free_where_no_range_is_recorded(tmp_path: Path) -> None:
    session = load(small_models.save(small_models.perceptron("N"), tmp_path / "model.onnx"))
    assert session.specs == ()
    assert session(np.ones((1, 16), np.float32))["y"].shape == (1, 8)


def test_damaged_metadata_is_an_artifact_error(tmp_path: Path) -> None:
    session = load(small_models.save(small_models.perceptron(), tmp_path / "model.onnx", inputs="[3"))
    with pytest.raises(ArtifactError, match=r"s2deploy\.inputs is damaged"):
        session(np.ones((4, 16), np.float32))


def test_a_failure_of_the_model_is_translated(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = small_models.make("(float[N] x, int64[K] shape) => (float[A,B] y)", "y = Reshape(x, shape)")
    session = load(small_models.save(model, tmp_path / "model.onnx"))
    with pytest.raises(S2DeployError, match="onnxruntime failed"):
        session(np.ones(6, np.float32), np.array([4, 4]))
    assert capfd.readouterr() == ("", "")


def test_a_closed_session_says_so(tmp_path: Path) -> None:
    with load(small_models.save(small_models.perceptron(), tmp_path / "model.onnx")) as session:
        pass
    with pytest.raises(S2DeployError, match="closed"):
        session(np.ones((4, 16), np.float32))


def test_threads_can_be_chosen(tmp_path: Path) -> None:
    path = small_models.save(small_models.perceptron(), tmp_path / "model.onnx")
    assert isinstance(load(path, threads=1), OnnxSession)
    with pytest.raises(UsageError, match="at least 1"):
        load(path, threads=0)


def test_files_that_cannot_be_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load(tmp_path / "missing.onnx")
    with pytest.raises(UsageError, match="do not know how to run"):
        load(Path(__file__))
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(small_models.perceptron().SerializeToString()[:-100])
    with pytest.raises(ArtifactError, match="onnxruntime cannot load"):
        load(damaged)


def test_a_plan_without_its_sidecar_is_refused(tmp_path: Path) -> None:
    plan = tmp_path / "model.plan"
    plan.write_bytes(b"plan")
    with pytest.raises(ArtifactError, match=r"has no sidecar model\.plan\.json"):
        load(plan)


def test_running_numpy_arrays_imports_no_torch(tmp_path: Path) -> None:
    path = small_models.save(small_models.perceptron(), tmp_path / "model.onnx")
    code = (
        "import sys, numpy; from s2deploy.runtime import load; "
        f"load({str(path)!r})(numpy.ones((4, 16), numpy.float32)); "
        "sys.exit('torch' in sys.modules or 'polygraphy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
