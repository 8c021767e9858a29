"""The GPU measurements as far as they run without one: what they compare, what they report, how they fail."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_builder import make as fake_tensorrt
from small_models import make, save

import s2deploy
from s2deploy.engine.families import WeaklyTyped
from s2deploy.engine.request import Request
from s2deploy.errors import TargetUnavailableError
from s2deploy.sidecar import Device, Proof
from s2deploy.specs import Target

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks" / "gpu"))

import cases
import plain_tactics
import run as gpu_run
import tensorrt_side
import torch_side

X = np.arange(8, dtype=np.float32).reshape(2, 4) - 3


@pytest.fixture
def prepared(tmp_path: Path) -> cases.Case:
    """A case whose model doubles its input."""
    case = cases.Case("double", "benchmarks/blocks.py", "S2Attention", {"channels": 8}, "x:2,4", ((2, 4),))
    save(make("(float[2,4] x) => (float[2,4] y)", "y = Add(x, x)"), tmp_path / case.model)
    np.savez(tmp_path / case.feed(0), **{"in.x": X, "out.y": X + X})
    cases.write(tmp_path, [case], {})
    return case


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has plans be built by nobody, and run by onnxruntime or not at all."""

    def patch(model: Path, refused: str | None = None) -> None:
        sidecar = SimpleNamespace(
            plan=SimpleNamespace(size_bytes=7), build_seconds=0.5, versions={"tensorrt": "8.5.3.1"},
            device=Device("NVIDIA Fake", "9.0"), proof=Proof("engine", {"float16": 1}),
        )  # fmt: skip

        def build(source: Path, plan: Path, **_: Any) -> Any:
            plan.write_bytes(b"plan")
            return SimpleNamespace(sidecar=sidecar)

        def load(plan: Path, unchecked: str | None = None, cuda_graphs: bool = False) -> Any:
            if refused is not None and unchecked is None:
                raise TargetUnavailableError(refused, hint="build it here")
            return real(model)

        real = s2deploy.load
        monkeypatch.setattr(s2deploy, "build", build)
        monkeypatch.setattr(s2deploy, "load", load)

    return patch


def test_what_was_prepared_is_read(prepared: cases.Case, tmp_path: Path) -> None:
    assert cases.read(tmp_path) == [prepared]
    for case in cases.cases("s2mlpv2_tiny"):
        (spec,) = s2deploy.specs.parse_inputs([case.spec])
        assert all(
            dim.min <= size <= dim.max for shape in case.shapes for dim, size in zip(spec.dims, shape, strict=True)
        )
        assert case.factory in runpy.run_path(str(cases.ROOT / case.file))


def test_an_engine_that_computes_the_same_passes(prepared: cases.Case, tmp_path: Path, builds) -> None:
    builds(tmp_path / prepared.model)
    row = tensorrt_side.measured(prepared, tmp_path, tmp_path / "model.plan", "tensorrt", "fp16")
    assert row["passed"]
    assert (row["plan_bytes"], row["device"]) == (7, "NVIDIA Fake (9.0)")
    assert row["proof"] == {"read_from": "engine", "computed": {"float16": 1}}
    assert row["shapes"][0]["outputs"]["y"]["worst"] == row["cuda_graphs_differ_by"] == 0
    json.dumps(row)


@pytest.mark.parametrize(("factor", "precision"), [(1.001, "fp32"), (1.2, "fp16"), (np.nan, "fp16")])
def test_an_engine_that_computes_something_else_does_not(
    prepared: cases.Case, tmp_path: Path, builds, factor: float, precision: str
) -> None:
    save(make("(float[2,4] x) => (float[2,4] y)", "a = Add(x, x) y = Mul(a, f)", {"f": np.float32([1, 1, 1, factor])}),
         tmp_path / "other.onnx")  # fmt: skip
    builds(tmp_path / "other.onnx")
    row = tensorrt_side.measured(prepared, tmp_path, tmp_path / "model.plan", "tensorrt", precision)
    assert not row["passed"]
    assert tensorrt_side.outcome(row) == "differs"


def test_what_cannot_be_loaded_is_a_row_and_rtx_is_asked_itself(prepared: cases.Case, tmp_path: Path, builds) -> None:
    refused = "model.plan was built for GPUs of compute capability 8.6; GPU 0 has 9.0"
    builds(tmp_path / prepared.model, refused)
    row = tensorrt_side.measured(prepared, tmp_path, tmp_path / "model.plan", "tensorrt", "fp32")
    assert (row["passed"], row["error"], row["hint"]) == (False, refused, "build it here")
    row = tensorrt_side.measured(prepared, tmp_path, tmp_path / "model.plan", "rtx", "fp32")
    assert (row["passed"], row["refused_by_sidecar"]) == (True, refused)


def test_a_fault_of_ours_is_a_row_too(prepared: cases.Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s2deploy, "build", lambda *_, **__: 1 / 0)
    row = tensorrt_side.measured(prepared, tmp_path, tmp_path / "model.plan", "tensorrt", "fp32")
    assert row["error"] == "ZeroDivisionError: division by zero"
    assert "Traceback" in row["traceback"]


def test_tactics_without_cuda_libraries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = fake_tensorrt("8.5")
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    request = Request("m.onnx", "m.plan", Target.TENSORRT, "8.5.3.1", workspace_bytes=5)
    settings = plain_tactics._without_libraries(WeaklyTyped((8, 5)), request)
    assert {source.name for source in settings["tactic_sources"]} == {"EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"}
    assert settings["memory_pool_limits"] == {module.MemoryPoolType.WORKSPACE: 5}


def test_eager_shifts_are_counted() -> None:
    offsets = iter([0, 1, 0, 1])  # the first is of clone semantics
    found = torch_side.eager_shift(lambda x: x + next(offsets), (1, 4, 1, 2), "cpu", 3)
    assert found == {
        "runs": 3, "runs_that_differ": 2, "most_elements_that_differ": 8, "elements": 8, "runs_unlike_the_first": 1,
    }  # fmt: skip


def test_modules_are_compared_under_clone_semantics(prepared: cases.Case, tmp_path: Path) -> None:
    case = replace(prepared, shapes=((1, 8, 5, 4),))
    import torch

    x = torch.randn(1, 8, 5, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch_side.clone_semantics():
        wanted = cases.module_of(case)(x)
    np.savez(tmp_path / case.feed(0), **{"in.x": x.numpy(), "out.y": wanted.numpy()})
    (row,) = torch_side.compared(case, tmp_path, "cpu")
    assert row["clone_semantics_differs_by"] < 1e-5
    assert row["eager_differs_by"] > 1e-3


def called(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["run.py", *map(str, arguments)])
    return gpu_run.main()


def test_wrong_calls_are_refused(
    prepared: cases.Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, message in ((tmp_path / "none", "has no cases.json"), (tmp_path, "at least one interpreter")):
        with pytest.raises(SystemExit) as caught:
            called(monkeypatch, folder)
        assert caught.value.code == 2
        assert message in capsys.readouterr().err


def test_a_side_that_fails_is_told_and_the_others_are_kept(
    prepared: cases.Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "works.py"
    script.write_text("print('a line before')\nprint('{\"rows\": []}')", encoding="utf-8")
    output = tmp_path / "gpu.json"
    works = f"{sys.executable} {script}"
    assert called(monkeypatch, tmp_path, "--torch-python", works, "--rtx-python", "false", "--output", output) == 1
    document = json.loads(output.read_text(encoding="utf-8"))
    assert document["torch"] == {"rows": []}
    assert "tensorrt" not in document
    assert "rtx: false tensorrt_side.py ended with code 1 and no result" in capsys.readouterr().out
    assert called(monkeypatch, tmp_path, "--torch-python", works, "--output", output) == 0
