"""Plugin libraries: loaded before the model is parsed, named in the sidecar, copied beside the plan."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import small_models
from click.testing import CliRunner
from engine_builds import carry_out, files_of, needs_rtx, request
from small_models import save

from s2deploy.cli import cli
from s2deploy.engine import build, read_sidecar, targets
from s2deploy.engine.request import Answer, Request
from s2deploy.errors import UsageError
from s2deploy.options import BuildOptions
from s2deploy.runtime.admission import check_plugins
from s2deploy.sidecar import identify


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(small_models.perceptron(), tmp_path / "model.onnx")


@pytest.fixture
def libraries(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "lib").mkdir()
    for name in ("shift.so", "other.so"):
        (tmp_path / "lib" / name).write_bytes(name.encode())
    return tmp_path / "lib" / "shift.so", tmp_path / "lib" / "other.so"


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """A machine with a TensorRT that writes any plan; returns what it was asked."""
    seen: list[Request] = []

    def record(asked: Request, *others: object) -> Answer:
        seen.append(asked)
        Path(str(asked.plan)).write_bytes(b"plan")
        return Answer(version="10.16.0")

    monkeypatch.setattr(targets, "_version", lambda target: "10.16.0")
    monkeypatch.setattr(targets, "count_devices", lambda: 1)
    monkeypatch.setattr("s2deploy.engine.builder.run_build", record)
    return seen


def test_libraries_lie_beside_the_plan_and_pass_what_a_session_checks(model, libraries, requests, tmp_path) -> None:
    folder = tmp_path / "plans"
    folder.mkdir()
    result = build(model, folder / "model.plan", BuildOptions(plugins=libraries))
    assert requests[0].plugins == tuple(map(str, libraries))
    assert files_of(folder) == {"model.plan", "model.plan.json", "shift.so", "other.so"}
    assert result.sidecar.plugins == tuple(map(identify, libraries))
    assert check_plugins(result.plan, read_sidecar(result.plan)) == [folder / "shift.so", folder / "other.so"]
    build(model, folder / "model.plan", BuildOptions(plugins=libraries))
    assert files_of(folder) == {"model.plan", "model.plan.json", "shift.so", "other.so"}


def test_another_library_of_that_name_is_not_replaced(model, libraries, requests, tmp_path) -> None:
    (tmp_path / "shift.so").write_bytes(b"of another plan")
    with pytest.raises(UsageError, match=r"shift\.so is another library than"):
        build(model, tmp_path / "model.plan", BuildOptions(plugins=libraries))
    assert files_of(tmp_path) == {"model.onnx", "lib", "shift.so"}
    assert requests == []


def test_libraries_that_cannot_be_meant(model, libraries, tmp_path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        build(model, tmp_path / "model.plan", BuildOptions(plugins=(tmp_path / "none.so",)))
    with pytest.raises(UsageError, match=r"two plugin libraries are named shift\.so"):
        build(model, tmp_path / "model.plan", BuildOptions(plugins=(libraries[0], libraries[0])))


@needs_rtx
def test_rtx_takes_none(model, libraries, tmp_path) -> None:
    arguments = ["build", str(model), "--target", "rtx", "--plugin", str(libraries[0]), "-o", str(tmp_path / "p")]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert "takes no --plugin: it runs no plugins" in result.stderr


@pytest.mark.parametrize("version", ["9.3", "10.16", "11.1"])
def test_the_registry_loads_them_before_the_model_is_parsed(tmp_path: Path, version: str) -> None:
    calls, _ = carry_out(version, request(tmp_path, version, plugins=("/lib/shift.so", "/lib/other.so")))
    names = [call[0] for call in calls]
    assert [call[1] for call in calls if call[0] == "IPluginRegistry.load_library"] == ["shift.so", "other.so"]
    assert names.index("IPluginRegistry.load_library") < names.index("Builder.create_network")


@pytest.mark.parametrize(("version", "library"), [("8.5", "/lib/none.so"), ("10.16", "/lib/broken.so")])
def test_a_library_that_does_not_load_is_named(tmp_path: Path, version: str, library: str) -> None:
    with pytest.raises(AssertionError, match=rf"PluginLoadError: {library} cannot be loaded"):
        carry_out(version, request(tmp_path, version, plugins=(library,)))


@needs_rtx
def test_the_real_registry_says_nothing_of_a_library_without_plugins(tmp_path: Path) -> None:
    program = (
        "import ctypes.util, sys; from s2deploy.engine.families import RTX, PluginLoadError\n"
        "try: RTX((1, 7)).load_plugins([ctypes.util.find_library('m')])\n"
        "except PluginLoadError as error: print(error)"
    )
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "POLYGRAPHY_USE_TENSORRT_RTX": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert "cannot be loaded" in done.stdout
