"""`build` from an exported file to a plan and its sidecar, through the functions and the command line."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import s2deploy
from s2deploy.cli import cli
from s2deploy.errors import UsageError

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = Path(__file__).parent / "models" / "shifts.py"
    output = tmp_path_factory.mktemp("exported") / "model.onnx"
    result = s2deploy.export(f"{source}:Shift", output, inputs=["x:batch=1..2..4,4,height=3..6..9,5"])
    assert result.passed
    return output


def test_a_plan_takes_the_ranges_of_the_export_and_its_sidecar_agrees_with_the_files(model: Path) -> None:
    plan = model.with_name("both.plan")
    result = s2deploy.build(model, plan, capabilities=["8.0", "8.9"])
    assert result.sidecar.capabilities == ("8.0", "8.9")
    assert result.sidecar.plan.sha256 == hashlib.sha256(plan.read_bytes()).hexdigest()
    assert result.sidecar.onnx.sha256 == hashlib.sha256(model.read_bytes()).hexdigest()
    assert result.sidecar.semantics == "clone"
    (profile,) = result.sidecar.profiles
    assert (profile["x"].min, profile["x"].opt, profile["x"].max) == ((1, 4, 3, 5), (2, 4, 6, 5), (4, 4, 9, 5))


def test_the_command_says_what_it_wrote_and_where_it_runs(model: Path) -> None:
    plan = model.with_name("half.plan")
    arguments = ["build", str(model), "-o", str(plan), "--target", "rtx", "--fp16", "--compute-capability", "8.6"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert f"wrote {plan}" in result.stdout
    assert f"wrote {plan}.json" in result.stdout
    assert "compute capability 8.6" in result.stdout
    assert "input x: min 1x4x3x5, opt 2x4x6x5, max 4x4x9x5" in result.stdout
    document = CliRunner().invoke(cli, [*arguments, "--json"])
    assert json.loads(document.stdout)["sidecar"]["precision"] == "fp16"


def test_every_option_reaches_the_sidecar(model: Path) -> None:
    plan = model.with_name("options.plan")
    arguments = ["build", str(model), "-o", str(plan), "--target", "rtx", "--bf16", "--no-tf32", "--workspace", "4GiB"]
    arguments += ["--profile", "x:n=1..2,4,h=3..6,5", "--profile", "x:n=3..4,4,h=3..9,5", "--json"]
    result = CliRunner().invoke(cli, [*arguments, "--compute-capability", "8.6"])
    assert result.exit_code == 0, result.output
    sidecar = json.loads(result.stdout)["sidecar"]
    assert sidecar["precision"] == "bf16"
    assert [profile["x"]["max"] for profile in sidecar["profiles"]] == [[2, 4, 6, 5], [4, 4, 9, 5]]
    assert sidecar["options"] == {
        "strongly_typed": True, "tf32": False, "fp16_io": False, "version_compatible": False,
        "hardware_compatible": False, "workspace_bytes": 4 << 30,
    }  # fmt: skip
    assert "profile 1, input x: min 3x4x3x5, opt 4x4x9x5, max 4x4x9x5" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--compute-capability", "3.0"], 2, "unknown compute capability"),
        (["--fp16-io"], 2, "--fp16"),
        (["--input", "y:3"], 2, "'y'"),
        (["--target", "banana"], 2, "banana"),
        (["--fp16", "--bf16"], 2, "--fp16 and --bf16 contradict"),
        (["--workspace", "4 potatoes"], 2, "'4 potatoes' is not a size"),
        (["--target", "rtx", "--timing-cache", "timings"], 2, "--timing-cache"),
        (["--input", "x:1,4,3,5", "--profile", "x:1,4,3,5"], 2, "--input and --profile both give ranges"),
    ],
)
def test_a_wrong_call_leaves_no_plan(model: Path, arguments: list[str], code: int, message: str) -> None:
    plan = model.with_name("none.plan")
    result = CliRunner().invoke(cli, ["build", str(model), "-o", str(plan), *arguments])
    assert result.exit_code == code
    assert message in result.stderr
    assert not plan.exists()


def test_a_plan_may_not_overwrite_its_model(model: Path) -> None:
    before = model.read_bytes()
    result = CliRunner().invoke(cli, ["build", str(model), "-o", str(model)])
    assert result.exit_code == 2
    assert model.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"target": "banana"}, "unknown target 'banana'"), ({"capabilities": "8.6"}, "capabilities is one text")],
)
def test_what_python_callers_mix_up_is_named(model: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        s2deploy.build(model, model.with_name("wrong.plan"), **arguments)
