"""Plans on a stand-in for TensorRT and CUDA: what is copied, kept, captured and freed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_machine import VERSIONS, Machine, OnGpu, X, plan_writer
from fake_tensorrt import TORCH_STREAM, plan_bytes

from s2deploy.errors import S2DeployError, UsageError


@pytest.fixture(autouse=True)
def torch_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2deploy.runtime.execution.current_stream", lambda tensor: TORCH_STREAM)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    return plan_writer(tmp_path)


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
def test_arrays_go_in_and_out_on_every_version(write, version: str, graphs: bool) -> None:
    machine = Machine(version)
    with machine.load(write(versions={"tensorrt": version}), cuda_graphs=graphs) as session:
        for batch in (2, 8, 2, 1):
            x = np.random.default_rng(batch).standard_normal((batch, 4)).astype(np.float32)
            np.testing.assert_array_equal(session(x=x)["y"], x + x)
            np.testing.assert_array_equal(session(x[::-1])["y"], x[::-1] + x[::-1])
            np.testing.assert_array_equal(session(np.asfortranarray(x))["y"], x + x)
    assert machine.driver.memory == {}
    assert machine.driver.streams == set()
    assert machine.driver.graphs == {}
    assert machine.driver.active == machine.module.contexts == 0
    with pytest.raises(S2DeployError, match="session is closed"):
        session(X)


def test_a_session_describes_its_engine(write) -> None:
    session = Machine().load(write(semantics="clone", state={"y": "last"}))
    assert [str(info) for info in (*session.inputs, *session.outputs)] == ["x:?,4:float32", "y:?,4:float32"]
    assert [str(spec) for spec in session.specs] == ["x:x_0=1..2..8,4:float32"]
    assert session.metadata["s2deploy.semantics"] == "clone"
    assert session.state == {"y": "last"}
    assert session.backend.startswith("TensorRT 10.16.0.72, ")
    assert str(session.profiles[0]) == "x 1x4 to 8x4"


def test_torch_tensors_of_the_processor_come_back_to_it(write) -> None:
    y = Machine().load(write())(torch.from_numpy(X))["y"]
    assert torch.equal(y, torch.from_numpy(X + X))


def test_arrays_that_speak_dlpack_come_back_as_their_own_kind(write) -> None:
    class Foreign:
        def __init__(self, array: Any) -> None:
            self.array = np.asarray(array)

        def __dlpack__(self, **arguments: Any) -> Any:
            return self.array.__dlpack__(**arguments)

        def __dlpack_device__(self) -> Any:
            return self.array.__dlpack_device__()

        def __array_namespace__(self) -> Any:
            return Foreign

        from_dlpack = None

    Foreign.from_dlpack = Foreign  # type: ignore[assignment]
    y = Machine().load(write())(x=Foreign(X))["y"]
    assert isinstance(y, Foreign)
    np.testing.assert_array_equal(y.array, X + X)


def test_tensors_on_the_gpu_are_not_copied_and_the_call_does_not_wait(write) -> None:
    machine = Machine()
    session = machine.load(write())
    session(OnGpu.of(X))
    machine.driver.calls.clear()
    y = session(x=OnGpu.of(X))["y"]
    assert isinstance(y, OnGpu)
    assert y.tolist() == (X + X).tolist()
    called = [call for call in machine.driver.calls if not call[0].startswith("cuCtx")]
    names = [call[0] for call in called]
    order = ["cuEventCreate", "cuEventRecord", "cuStreamWaitEvent", "cuEventDestroy_v2"]
    assert names == [*order, *order]
    (own,) = machine.driver.streams
    assert [call[2] for call in called if call[0] == "cuEventRecord"] == [TORCH_STREAM, own]
    assert [call[1] for call in called if call[0] == "cuStreamWaitEvent"] == [own, TORCH_STREAM]


def test_a_tensor_that_is_not_aligned_is_copied(write) -> None:
    machine = Machine()
    session = machine.load(write())
    long = OnGpu.of(np.arange(16, dtype=np.float32).reshape(4, 4))
    assert session(long[1:3])["y"].tolist() == (long[1:3] * 2).tolist()
    assert machine.driver.count("cuMemcpyDtoDAsync_v2") == 1


def test_a_tensor_of_another_gpu_is_refused(write) -> None:
    class Elsewhere(OnGpu):
        device = torch.device("cuda:3")  # type: ignore[assignment]

    with pytest.raises(UsageError, match=r"on cuda:3, the plan was loaded on GPU 0") as caught:
        Machine().load(write())(OnGpu.of(X).as_subclass(Elsewhere))
    assert "device=3" in str(caught.value.hint)


def test_buffers_are_used_again(write) -> None:
    machine = Machine()
    session = machine.load(write())
    session(np.ones((8, 4), np.float32))
    allocated = machine.driver.count("cuMemAlloc_v2")
    for batch in (1, 8, 3):
        session(np.ones((batch, 4), np.float32))
    assert machine.driver.count("cuMemAlloc_v2") == allocated == 2
    assert machine.module.contexts == 1


def test_the_profile_tuned_nearest_to_the_shape_is_chosen(write) -> None:
    machine = Machine()
    profiles = [{"x": [[1, 4], [8, 4], [16, 4]]}, {"x": [[1, 4], [1, 4], [1, 4]]}, {"x": [[32, 4], [64, 4], [64, 4]]}]
    session = machine.load(write(plan_bytes(profiles=profiles)))
    for batch, profile in ((8, 0), (1, 1), (2, 0), (40, 2), (1, 1)):
        session(np.ones((batch, 4), np.float32))
        (lane,) = session._lanes._idle
        (execution,) = lane._executions.values()
        assert execution._context.active_optimization_profile == profile
    with pytest.raises(UsageError, match=r"no optimization profile of the plan takes x 20x4") as caught:
        session(np.ones((20, 4), np.float32))
    assert "profile 2: x 32x4 to 64x4" in caught.value.message


def test_graphs_are_captured_once_a_shape_and_the_least_used_are_dropped(write) -> None:
    machine = Machine()
    session = machine.load(write(plan_bytes(profiles=[{"x": [[1, 4], [2, 4], [99, 4]]}])), cuda_graphs=True)
    for _ in range(3):
        np.testing.assert_array_equal(session(X)["y"], X + X)
    assert machine.driver.count("cuStreamBeginCapture_v2") == 1
    assert machine.driver.count("cuGraphLaunch") == 2
    for batch in range(1, 30):
        session(np.ones((batch, 4), np.float32))
    assert len(machine.driver.graphs) == machine.module.contexts == 8
    assert session(OnGpu.of(X))["y"].tolist() == (X + X).tolist()
    session.close()
    assert machine.driver.graphs == machine.driver.memory == {}


def test_an_engine_that_cannot_be_captured_runs_without_graphs(write) -> None:
    machine = Machine()
    machine.driver.capturable = False
    session = machine.load(write(), cuda_graphs=True)
    for _ in range(3):
        np.testing.assert_array_equal(session(X)["y"], X + X)
    assert machine.driver.count("cuGraphLaunch") == 0


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("kind", [np.asarray, OnGpu.of])
def test_an_output_whose_shape_the_values_decide(write, kind, graphs: bool) -> None:
    session = Machine().load(write(plan_bytes(positive=True)), cuda_graphs=graphs)
    for x in (X, -np.ones((1, 4), np.float32), np.ones((8, 4), np.float32)):
        assert session(kind(x))["positive"].tolist() == x[x > 0].tolist()


def test_inputs_of_no_size(write) -> None:
    session = Machine().load(write(plan_bytes(profiles=[{"x": [[0, 4], [2, 4], [8, 4]]}])))
    for kind in (np.asarray, torch.from_numpy, OnGpu.of):
        assert tuple(session(kind(np.empty((0, 4), np.float32)))["y"].shape) == (0, 4)


@pytest.mark.parametrize(("version", "most"), [("8.5.3.1", 1), ("10.16.0.72", 4)])
def test_threads_share_a_session_but_no_context(write, version: str, most: int) -> None:
    machine = Machine(version)
    session = machine.load(write(versions={"tensorrt": version}))
    barrier, wrong = threading.Barrier(4), []

    def work(seed: int) -> None:
        barrier.wait()
        for _ in range(50):
            x = np.full((seed + 1, 4), seed, np.float32)
            if not np.array_equal(session(x)["y"], x + x):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert 1 <= machine.module.contexts <= most
    session.close()
    assert machine.module.contexts == 0
    assert machine.driver.memory == {}


def test_a_session_that_is_forgotten_is_freed(write) -> None:
    machine = Machine()
    session = machine.load(write())
    session(X)
    del session
    assert machine.driver.memory == {}
    assert machine.module.contexts == 0


def test_a_failed_run_is_told_in_tensorrts_words_and_the_next_one_starts_afresh(write) -> None:
    machine = Machine()
    session = machine.load(write())
    machine.module.works = False
    with pytest.raises(S2DeployError, match=r"(?s)TensorRT 10\.16\.0\.72 failed to run.*an illegal memory access"):
        session(X)
    assert machine.driver.memory == {}
    machine.module.works = True
    np.testing.assert_array_equal(session(X)["y"], X + X)


def test_memory_that_runs_out_is_named(write) -> None:
    with pytest.raises(S2DeployError, match="memory of GPU 0 ran out"):
        Machine(memory_bytes=4000).load(write(plan_bytes(profiles=[{"x": [[1, 4], [2, 4], [9999, 4]]}])))(
            np.ones((9999, 4), np.float32)
        )


def test_wrong_inputs_are_refused_before_anything_runs(write) -> None:
    session = Machine().load(write())
    with pytest.raises(UsageError, match="input 'x' is float32 but the array is float64"):
        session(X.astype(np.float64))
    with pytest.raises(UsageError, match="axis 1 has size 3, the model takes 4"):
        session(X[:, :3])


@pytest.mark.parametrize("graphs", [False, True])
def test_events_around_the_kernels_alone_tell_their_time(write, graphs: bool) -> None:
    machine = Machine()
    session = machine.load(write(), cuda_graphs=graphs)
    for _ in range(3):
        machine.driver.calls.clear()
        outputs, milliseconds = session.timed({"x": X})
        np.testing.assert_array_equal(outputs["y"], X + X)
        assert milliseconds == 1.5
        names = [call[0] for call in machine.driver.calls]
        copied_in, copied_out = names.index("cuMemcpyHtoDAsync_v2"), names.index("cuMemcpyDtoHAsync_v2")
        first, then = (index for index, name in enumerate(names) if name == "cuEventRecord")
        assert copied_in < first < then < copied_out < names.index("cuStreamSynchronize")
        assert names.index("cuStreamSynchronize") < names.index("cuEventElapsedTime")
    if graphs:
        assert first < names.index("cuGraphLaunch") < then
    session.close()
    assert machine.driver.count("cuEventDestroy_v2") == 2
    assert machine.driver.memory == {}
