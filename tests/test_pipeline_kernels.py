"""`build --plugin`: kernels or functions, what was measured or found decides, and the sidecar tells which and why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import small_models
from click.testing import CliRunner
from engine_builds import files_of, needs_rtx
from test_engine_kernels import library, saved

import s2deploy
from s2deploy.benchmark import Turn
from s2deploy.benchmark.measurement import Ratio
from s2deploy.cli import cli
from s2deploy.engine import kernels, read_sidecar, targets
from s2deploy.engine.request import Answer, Request
from s2deploy.errors import BuildError, S2DeployError, UsageError
from s2deploy.feeds import Feed
from s2deploy.pipeline import kernel_builds
from s2deploy.pipeline.bench_process import First
from s2deploy.pipeline.bench_runners import Way
from s2deploy.pipeline.kernel_builds import Timing, judged
from s2deploy.runtime import TensorInfo
from s2deploy.runtime.admission import check_plugins
from s2deploy.specs import Precision

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler on PATH")

OPERATORS = {"SpatialShift": 1, "ShiftSumPool": 1, "ShiftSum": 1}


class Machine:
    """A GPU with TensorRT 10.16 that builds any plan, and runs those with kernels as fast as it is told."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.kernels_ms: Callable[[int], float] = lambda turn: 1.0
        self.kernels_add = 0.0
        self.refuses: tuple[type[S2DeployError], bool] | None = None
        self.dies = False

    def run_build(self, asked: Request, *others: object) -> Answer:
        self.requests.append(asked)
        if self.refuses is not None and self.refuses[1] == (asked.kernels is not None):
            raise self.refuses[0]("the parser refuses")
        operators = sorted({node.op_type for node in onnx.load(asked.model).graph.node if node.domain})
        Path(str(asked.plan)).write_text(json.dumps(operators))
        return Answer(version="10.16.0")


def candidate(machine: Machine) -> type:
    class Candidate:
        """Runs a plan of the machine; its library must lie beside it, as for a session."""

        inputs = (TensorInfo("x", (2, 4, 5, 8), "float32"),)
        specs = ()

        def __init__(self, way: Way, folder: Path) -> None:
            self.way, self.turns = way, 0

        def __enter__(self) -> Candidate:
            return self

        def __exit__(self, *error: object) -> None: ...

        def open(self) -> None:
            if machine.dies:
                raise S2DeployError("no device is free")
            plan = Path(self.way.artifact)
            self.fused = bool(json.loads(plan.read_text()))
            beside = [path.name for path in check_plugins(plan, read_sidecar(plan))]
            assert (kernels.LIBRARY in beside) == self.fused

        def first(self, feed: Feed) -> First:
            y = feed["x"] * 2 + (machine.kernels_add if self.fused else 0)
            return First({"y": y}, 0.1)

        def warm(self, seconds: float) -> None: ...

        def turn(self, calls: int, warm: int) -> Turn:
            self.turns += 1
            device_ms = machine.kernels_ms(self.turns) if self.fused else 2.0
            return Turn((10.0,) * calls, (device_ms,) * calls)

    return Candidate


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    made = Machine()
    monkeypatch.setattr(targets, "_version", lambda target: "10.16.0")
    monkeypatch.setattr(targets, "count_devices", lambda: 1)
    monkeypatch.setattr("s2deploy.engine.builder.run_build", made.run_build)
    monkeypatch.setattr(kernel_builds, "CandidateProcess", candidate(made))
    monkeypatch.setattr(kernel_builds, "_SECONDS", 0.05)
    nowhere(monkeypatch, tmp_path)
    return made


def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No library lies where one is looked for but for beside the model."""
    monkeypatch.delenv(kernels.ENVIRONMENT, raising=False)
    monkeypatch.setattr(kernels, "_folders", lambda model: iter([model.parent]))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(tmp_path / "model.onnx")


@pytest.fixture
def lib(tmp_path: Path) -> Path:
    return library(tmp_path / "lib")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "model.plan"


def test_faster_kernels_are_kept(machine: Machine, model: Path, lib: Path, out: Path) -> None:
    result = s2deploy.build(model, out, plugins=[lib])
    assert json.loads(out.read_text()) == ["ShiftSum", "ShiftSumPool", "SpatialShift"]
    assert files_of(out.parent) == {"model.plan", "model.plan.json", lib.name}
    told = read_sidecar(out)
    assert told == result.sidecar
    assert told.kernels is not None
    assert (told.kernels.used, told.kernels.operators) == (True, OPERATORS)
    assert (told.kernels.kernels_ms, told.kernels.functions_ms) == (1.0, 2.0)
    assert "the kernels are 2.00 times as fast: 1.000 ms with the kernels, 2.000 ms" in told.kernels.reason
    assert [plugin.name for plugin in told.plugins] == [lib.name]
    assert (result.plan, result.sidecar_path) == (out, out.with_name("model.plan.json"))
    assert [request.kernels is not None for request in machine.requests] == [False, True]
    s2deploy.build(model, out, plugins=[lib])  # once more to the same place
    assert files_of(out.parent) == {"model.plan", "model.plan.json", lib.name}


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (lambda turn: 3.0, "the kernels are slower by a factor of 1.50"),
        (lambda turn: 1.0 if turn % 2 else 3.0, "no difference beyond what the measurement varies by"),
    ],
)
def test_without_a_gain_the_functions_are_kept_and_no_library_lies_there(
    machine: Machine, model: Path, lib: Path, out: Path, times: Callable[[int], float], said: str
) -> None:
    machine.kernels_ms = times
    result = s2deploy.build(model, out, plugins=[lib])
    assert json.loads(out.read_text()) == []
    assert files_of(out.parent) == {"model.plan", "model.plan.json"}
    assert result.sidecar.kernels is not None
    assert not result.sidecar.kernels.used
    assert said in result.sidecar.kernels.reason
    assert result.sidecar.plugins == ()


def test_what_stays_in_float32_means_the_same_in_both_builds(
    machine: Machine, model: Path, lib: Path, out: Path
) -> None:
    words = ["ShiftSumPool", "shiftsum_6", "ReduceSum"]
    result = s2deploy.build(model, out, plugins=[lib], fp16=True, keep_fp32=words)
    assert [request.kernels is not None for request in machine.requests] == [False, True]
    assert result.sidecar.options["keep_fp32"] == ", ".join(words)
    machine.requests.clear()
    with pytest.raises(UsageError, match="neither a node nor an operator type"):
        s2deploy.build(model, out, plugins=[lib], fp16=True, keep_fp32=["ShiftSumPol"])
    assert machine.requests == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kernels_add": 1.0}, "the outputs with the kernels differ by"),
        ({"kernels_add": float("nan")}, "the outputs with the kernels differ by inf"),
        ({"refuses": (BuildError, True)}, "the plan with kernels could not be built: the parser refuses"),
        ({"dies": True}, "the plan with kernels could not be compared: no device is free"),
    ],
)
def test_kernels_that_are_not_shown_to_be_right_are_not_used(
    machine: Machine, model: Path, lib: Path, out: Path, change: dict[str, object], said: str
) -> None:
    vars(machine).update(change)
    kept = s2deploy.build(model, out, plugins=[lib]).sidecar.kernels
    assert kept is not None
    assert not kept.used
    assert said in kept.reason
    assert json.loads(out.read_text()) == []
    assert files_of(out.parent) == {"model.plan", "model.plan.json"}


def test_always_builds_the_kernels_alone(machine: Machine, model: Path, lib: Path, out: Path) -> None:
    machine.kernels_ms = lambda turn: 9.0
    kept = s2deploy.build(model, out, plugins=["always", lib]).sidecar.kernels
    assert kept is not None
    assert kept.used
    assert kept.kernels_ms is None
    assert "nothing was compared" in kept.reason
    assert len(machine.requests) == 1
    machine.refuses = (BuildError, True)
    out.unlink()
    with pytest.raises(BuildError, match="the parser refuses"):
        s2deploy.build(model, out, plugins=["always", lib])
    assert not out.exists()


def test_auto_takes_what_lies_beside_the_model(machine: Machine, model: Path, out: Path) -> None:
    beside = library(model.parent)
    kept = s2deploy.build(model, out, plugins=["auto"], fp16=True).sidecar.kernels
    assert kept is not None
    assert kept.used
    assert machine.requests[1].kernels == str(beside)


def test_auto_goes_on_without_and_says_where_it_looked(
    machine: Machine, model: Path, out: Path, tmp_path: Path
) -> None:
    result = CliRunner().invoke(cli, ["build", str(model), "-o", str(out), "--plugin", "auto"])
    assert result.exit_code == 0, result.output
    expected = f"functions written out: none of {model.with_name(kernels.LIBRARY)} is there"
    assert f"1 SpatialShift, 1 ShiftSumPool, 1 ShiftSum: {expected}" in result.stdout
    library(tmp_path, tensorrt=8)
    again = s2deploy.build(model, out, plugins=["auto"]).sidecar.kernels
    assert again is not None
    assert "was built for TensorRT 8, this is TensorRT 10.16.0" in again.reason


def test_without_an_option_the_functions_are_built(machine: Machine, model: Path, out: Path) -> None:
    kept = s2deploy.build(model, out).sidecar.kernels
    assert kept is not None
    assert "--plugin auto would look for it" in kept.reason
    assert len(machine.requests) == 1


@pytest.mark.parametrize(
    ("plugins", "said"),
    [
        (["always"], "there are no kernels for 1 SpatialShift, 1 ShiftSumPool, 1 ShiftSum: none of"),
        (["old"], "computes version 7 of the operators, not version 1"),
        (["eight"], "was built for TensorRT 8, this is TensorRT 10.16.0"),
        (["damaged"], "cannot be loaded"),
        (["old", "eight"], "hold the same plugins"),
    ],
)
def test_what_cannot_be_meant(
    machine: Machine, model: Path, out: Path, tmp_path: Path, plugins: list[str], said: str
) -> None:
    (tmp_path / "damaged.so").write_bytes(b"s2deployOperatorVersion")
    named = {
        "old": library(tmp_path / "old", 7),
        "eight": library(tmp_path / "eight", tensorrt=8),
        "damaged": tmp_path / "damaged.so",
    }
    with pytest.raises(UsageError, match=said):
        s2deploy.build(model, out, plugins=[named.get(name, name) for name in plugins])
    assert machine.requests == []
    assert files_of(out.parent) == set()


def test_another_library_in_the_way_is_found_before_the_builds(
    machine: Machine, model: Path, lib: Path, out: Path
) -> None:
    out.with_name(lib.name).write_bytes(b"of another plan")
    with pytest.raises(UsageError, match="is another library than"):
        s2deploy.build(model, out, plugins=[lib])
    assert machine.requests == []


def test_libraries_of_others_are_loaded_too(machine: Machine, model: Path, lib: Path, out: Path) -> None:
    other = lib.with_name("other.so")
    other.write_bytes(b"other")
    s2deploy.build(model, out, plugins=[other, lib])
    assert [request.plugins for request in machine.requests] == [(str(other),)] * 2
    assert files_of(out.parent) == {"model.plan", "model.plan.json", lib.name, "other.so"}


def test_a_model_without_operators(machine: Machine, lib: Path, out: Path, tmp_path: Path) -> None:
    plain = small_models.save(small_models.perceptron(), tmp_path / "plain.onnx")
    result = CliRunner().invoke(cli, ["build", str(plain), "-o", str(out), "--plugin", "auto"])
    assert result.exit_code == 0, result.output
    assert "the model has no operators of the s2deploy plugins" in result.stdout
    assert read_sidecar(out).kernels is None
    s2deploy.build(plain, out, plugins=[lib])
    assert machine.requests[-1].plugins == (str(lib),)
    with pytest.raises(UsageError, match="has no operator that the kernels could compute"):
        s2deploy.build(plain, out, plugins=["always", lib])


@needs_rtx
def test_rtx_writes_the_functions_out_and_says_so(
    model: Path, lib: Path, out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nowhere(monkeypatch, tmp_path)
    arguments = ["build", str(model), "--target", "rtx", "--compute-capability", "8.6", "--plugin", str(lib)]
    result = CliRunner().invoke(cli, [*arguments, "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert "functions written out: TensorRT-RTX runs no plugins" in result.stdout
    assert files_of(out.parent) == {"model.plan", "model.plan.json"}
    assert "TensorRT-RTX runs no plugins" in CliRunner().invoke(cli, ["inspect", str(out)]).output
    refused = CliRunner().invoke(cli, [*arguments, "--plugin", "always", "-o", str(out)])
    assert refused.exit_code == 2
    assert "TensorRT-RTX runs no plugins, so that no kernels can compute" in refused.stderr


def test_a_dry_run_says_what_would_be_decided(machine: Machine, model: Path, lib: Path, monkeypatch) -> None:
    monkeypatch.setattr(targets, "count_devices", lambda: 0)
    found = s2deploy.dry_run(model, target="tensorrt", plugins=[lib])
    assert "would both be built on the GPU, and the faster one kept" in found.kernels
    assert found.nodes_built == 7
    assert "which are asked for" in s2deploy.dry_run(model, target="tensorrt", plugins=[lib, "always"]).kernels
    result = CliRunner().invoke(cli, ["build", str(model), "--target", "tensorrt", "--dry-run", "--plugin", "auto"])
    assert "functions written out: none of" in result.stdout


@pytest.mark.parametrize(
    ("difference", "ratio", "used"),
    [
        (0.0, Ratio(0.5, 0.4, 0.6), True),
        (0.0, Ratio(0.99, 0.9, 1.0), False),
        (0.019, Ratio(0.5, 0.4, 0.6), True),
        (0.021, Ratio(0.5, 0.4, 0.6), False),
        (float("inf"), Ratio(0.5, 0.4, 0.6), False),
        (float("nan"), Ratio(0.5, 0.4, 0.6), False),
    ],
)
def test_what_is_kept(difference: float, ratio: Ratio, used: bool) -> None:
    assert judged(Timing(1.0, 2.0, ratio, difference), OPERATORS, Precision.FP32).used is used


def test_outputs_are_held_against_each_other() -> None:
    def off(wanted: list[float], given: list[float]) -> float:
        return kernel_builds._difference({"y": np.array(wanted)}, {"y": np.array(given)})

    assert off([1.0, -4.0], [1.0, -4.0]) == 0
    assert off([1.0, -4.0], [2.0, -4.0]) == 0.25
    assert off([1.0, np.inf], [1.0, np.inf]) == 0
    assert off([1.0, np.inf], [1.0, 3.0]) == float("inf")
    assert off([1.0], [1.0, 3.0]) == float("inf")
