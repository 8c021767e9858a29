"""The ways to run a model that are measured, in this process: PyTorch files, a made-up GPU, plans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_machine import Machine, X, plan_writer

from s2deploy.errors import S2DeployError, UsageError, ValidationError
from s2deploy.pipeline import bench_runners
from s2deploy.pipeline.bench_runners import SessionRunner, TorchRunner, Way, runners_for

SHIFTS = Path(__file__).parent / "models" / "shifts.py"
FEED = {"x": np.random.default_rng(0).standard_normal((2, 4, 5, 6)).astype(np.float32)}


@pytest.fixture(autouse=True)
def torch_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_runners, "_torch", lambda way: torch)  # its threads can be fixed once in a process


def way(artifact: object, runner: str = "eager", **options: Any) -> Way:
    return Way("label", str(artifact), runner, 1, **options)


class Twice(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + x


@pytest.mark.parametrize(
    ("artifact", "runners"),
    [
        ("a.onnx", ("onnxruntime",)),
        ("a.plan", ("plan",)),
        ("a.engine", ("plan",)),
        ("a.pt", ("eager", "compile")),
        ("a.py:Model", ("eager", "compile")),
    ],
)
def test_the_name_tells_how_an_artifact_is_run(artifact: str, runners: tuple[str, ...]) -> None:
    assert runners_for(artifact, compiled=True) == runners
    assert runners_for(artifact, compiled=False) == runners[:1]


def test_a_factory_runs_eagerly_and_is_also_run_as_it_is_meant() -> None:
    runner = TorchRunner(way(f"{SHIFTS}:Shift"))
    made = runner.outputs(runner.prepare(FEED)())
    meant, overlaps = runner.reference(list(FEED.values()))
    assert overlaps == 2
    assert list(made) == list(meant) == ["output 0"]
    assert not np.allclose(made["output 0"], meant["output 0"])
    again = runner.outputs(runner.prepare(FEED)())
    np.testing.assert_array_equal(made["output 0"], again["output 0"])


def test_an_exported_program_brings_its_sizes(tmp_path: Path) -> None:
    batch = torch.export.Dim("batch", min=2, max=6)
    program = torch.export.export(Twice(), (torch.zeros(3, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "m.pt2")
    runner = TorchRunner(way(tmp_path / "m.pt2"))
    ((batch_dim, other),) = (spec.dims for spec in runner.specs)
    assert ((batch_dim.min, batch_dim.max), other.opt) == ((2, 6), 4)
    x = np.ones((5, 4), np.float32)
    assert runner.outputs(runner.prepare({"x": x})())["output 0"].tolist() == (x + x).tolist()


def test_an_exported_program_without_bounds_leaves_its_sizes_to_the_user(tmp_path: Path) -> None:
    program = torch.export.export(Twice(), (torch.zeros(3, 4),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, tmp_path / "m.pt2")
    assert TorchRunner(way(tmp_path / "m.pt2")).specs == ()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_archive_is_run_by_torchscript(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(Twice(), torch.zeros(2)), tmp_path / "m.pt")
    runner = TorchRunner(way(tmp_path / "m.pt"))
    assert isinstance(runner._module, torch.jit.ScriptModule)
    assert runner.outputs(runner.prepare({"x": np.ones(3, np.float32)})())["output 0"].tolist() == [2, 2, 2]


def test_errors_of_forward_and_of_the_compiler_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="raised in forward") as caught:
        TorchRunner(way(f"{SHIFTS}:Shift")).prepare({"x": np.ones((1, 7, 2, 2), np.float32)})()
    assert "--input" in str(caught.value.hint)

    def compiled(module: object) -> Any:
        def call(*arguments: object) -> None:
            raise RuntimeError("no C++ compiler\nwas found")

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    with pytest.raises(S2DeployError, match=r"torch\.compile failed: RuntimeError: no C\+\+ compiler\n") as caught:
        TorchRunner(way(f"{SHIFTS}:Shift", "compile")).prepare(FEED)()
    assert "leave --compile out" in str(caught.value.hint)


def test_on_a_gpu_events_around_the_module_tell_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    class Event:
        def __init__(self) -> None:
            self.name = f"event {len([entry for entry in log if entry == 'new'])}"
            log.append("new")

        def record(self) -> None:
            log.append(f"record {self.name}")

        def synchronize(self) -> None:
            log.append(f"synchronize {self.name}")

        def elapsed_time(self, other: Event) -> float:
            return 1.5

    def moved(self: Any, device: object) -> Any:
        log.append(f"to {device}")
        return self

    monkeypatch.setattr(bench_runners, "_event", Event)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a made-up GPU")
    monkeypatch.setattr(torch.nn.Module, "to", moved)
    runner = TorchRunner(way(f"{SHIFTS}:Shift", device="cuda:1"))
    assert runner.backend.endswith(", a made-up GPU")
    call = runner.prepare(FEED)
    monkeypatch.setattr(torch.Tensor, "to", moved)
    made = call()
    assert runner.device_ms == 1.5
    assert log == ["to cuda:1", "to cuda:1", "new", "new", "record event 0", "record event 1", "synchronize event 1"]
    assert runner.outputs(made)["output 0"].shape == (2, 4, 5, 6)


def test_a_plan_tells_the_time_of_its_kernels(tmp_path: Path) -> None:
    with Machine().load(plan_writer(tmp_path)()) as session:
        runner = SessionRunner(session)
        assert [str(info) for info in runner.inputs] == ["x:?,4:float32"]
        call = runner.prepare({"x": X})
        assert runner.device_ms is None
        np.testing.assert_array_equal(runner.outputs(call())["y"], X + X)
        assert runner.device_ms == 1.5
        with pytest.raises(UsageError, match="has size 3"):
            runner.prepare({"x": X[:, :3]})
