"""`export` and `validate` over real stages: what is written, what is reported, and what bad input says."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from click.testing import CliRunner, Result
from small_models import make
from torch import nn

import s2deploy
from s2deploy import onnx_file
from s2deploy.cli import cli
from s2deploy.errors import ArtifactError, ExportError, InputSpecError, S2DeployError, UsageError
from s2deploy.exporter.settling import Doubt
from s2deploy.metadata import read_metadata
from s2deploy.pipeline.torch_source import dispel
from s2deploy.report import Reporter
from s2deploy.specs import parse_inputs

SHIFTS = Path(__file__).parent / "models" / "shifts.py"
DYNAMIC = "x:batch=1..2..3,4,height=3..6..9,width=3..5..9"


def export(name: str, tmp_path: Path, **arguments: Any) -> s2deploy.ExportResult:
    arguments.setdefault("inputs", [DYNAMIC])
    return s2deploy.export(f"{SHIFTS}:{name}", tmp_path / "model.onnx", **arguments)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> s2deploy.ExportResult:
    return export("Shift", tmp_path_factory.mktemp("exported"))


def test_an_export_is_clean_proven_and_says_what_it_is(exported: s2deploy.ExportResult) -> None:
    assert exported.passed
    assert exported.output is not None
    assert not {"ScatterND", "ScatterElements"} & set(operators(exported.output))
    assert exported.writes_before == 2
    assert [overlap.source.split(" = ")[0] for overlap in exported.overlaps] == [
        "x[:, : c // 2, 1:]",
        "x[:, c // 2 :, :, :-1]",
    ]
    assert exported.eager_difference is not None
    assert exported.eager_difference > 0.1
    assert exported.comparison is not None
    assert [feed.label for feed in exported.comparison.feeds] == ["min", "opt", "max", "odd"]
    onnx.checker.check_model(str(exported.output), full_check=True)


def test_the_metadata_lets_the_proof_be_repeated(exported: s2deploy.ExportResult) -> None:
    assert exported.output is not None
    metadata = read_metadata(exported.output)
    assert metadata.source == f"{SHIFTS}:Shift"
    assert metadata.inputs == exported.inputs
    assert metadata.opset == 20
    assert metadata.semantics == "clone"
    assert metadata.versions["torch"].startswith(torch.__version__.split("+")[0])
    comparison = s2deploy.validate(metadata.source, exported.output)
    assert comparison.passed
    assert comparison.worst_absolute == exported.comparison.worst_absolute  # type: ignore[union-attr]


def test_equal_calls_write_equal_files(exported: s2deploy.ExportResult, tmp_path: Path) -> None:
    assert exported.output is not None
    again = export("Shift", tmp_path)
    assert again.output is not None
    assert again.output.read_bytes() == exported.output.read_bytes()


def test_the_session_takes_arrays_and_tensors_by_name(exported: s2deploy.ExportResult) -> None:
    assert exported.output is not None
    array = np.ones((2, 4, 5, 6), np.float32)
    with s2deploy.load(exported.output) as session:
        (from_array,) = session(x=array).values()
        (from_tensor,) = session(x=torch.from_numpy(array)).values()
    assert from_array.shape == (2, 4, 5, 6)
    np.testing.assert_array_equal(from_array, from_tensor.numpy())


@pytest.mark.parametrize("name", ["Multiply", "Fill", "Select", "NewEmpty"])
def test_every_style_of_writing_in_place_is_right_at_every_size(name: str, tmp_path: Path) -> None:
    result = export(name, tmp_path)
    assert result.passed
    assert result.rewrites.scatters_after == 0


def test_steps_are_right_at_their_size(tmp_path: Path) -> None:
    assert export("Steps", tmp_path, inputs=["x:2,4,7,5"]).passed


def test_two_inputs_and_outputs_keep_their_order(tmp_path: Path) -> None:
    result = export("Two", tmp_path, inputs=["first:n=1..3,4,5,5", "second:n,4,5,5"])
    assert result.passed
    assert result.output is not None
    model = onnx.load(result.output)
    assert [value.name for value in model.graph.input] == ["first", "second"]
    assert [len(value.type.tensor_type.shape.dim) for value in model.graph.output] == [4, 2]


def test_a_module_object_is_exported_and_stays_as_it_is(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Dropout()).train()
    result = s2deploy.export(module, tmp_path / "model.onnx", inputs=["x:2,4,3,3"])
    assert result.passed
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert s2deploy.validate(module, tmp_path / "model.onnx").passed


def test_an_exported_file_can_be_exported_again(exported: s2deploy.ExportResult, tmp_path: Path) -> None:
    assert exported.output is not None
    again = s2deploy.export(exported.output, tmp_path / "again.onnx")
    assert again.passed
    assert again.inputs[0].dims == exported.inputs[0].dims
    assert again.rewrites.nodes_after == exported.rewrites.nodes_after


def test_data_replaces_random_inputs(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((2, 4, 5, 5), np.float32))
    result = export("Fill", tmp_path, inputs=[], data=tmp_path / "data.npz")
    assert result.comparison is not None
    assert [feed.label for feed in result.comparison.feeds] == ["data"]
    assert result.inputs[0].shape({}) == (2, 4, 5, 5)


def test_a_model_that_differs_is_not_written(tmp_path: Path) -> None:
    result = run("export", f"{SHIFTS}:Random", "--input", "x:2,3", "-o", tmp_path / "model.onnx")
    assert result.exit_code == 1
    assert "✗ output" in result.stdout
    assert "nothing was written" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_survives_a_failure(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"older")
    with pytest.raises(ExportError):
        export("Branch", tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() == b"older"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_terminal_says_it_all(tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"
    result = run("export", f"{SHIFTS}:Shift", "--input", "x:2,4,6,5", "-o", output, "--explain")
    assert result.exit_code == 0, result.output
    stages = [line.split()[0] for line in result.stdout.splitlines() if line and not line.startswith(" ")]
    assert stages[:7] == ["load", "overlaps", "capture", "translate", "rewrite", "write", "validate"]
    assert "shifts.py:19  x[:, : c // 2, 1:] = x[:, : c // 2, :-1]" in result.stdout
    assert "clone semantics" in result.stdout
    assert "rewrites: " in result.stdout
    assert "2 in-place writes -> 0 scatters" in result.stdout
    assert f"next: s2deploy build {output} --fp16" in result.stdout
    assert result.stderr == ""


def test_with_json_stdout_is_one_document(tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"
    result = run("export", f"{SHIFTS}:Shift", "--input", "x:2,4,6,5", "-o", output, "--json")
    document = json.loads(result.stdout)
    assert document["output"] == str(output)
    assert document["comparison"]["passed"] is True
    assert document["overlaps"][0]["line"] == 19
    assert document["stages"][0]["name"] == "load"
    assert "validate" in result.stderr
    validated = run("validate", f"{SHIFTS}:Shift", output, "--json")
    assert json.loads(validated.stdout)["passed"] is True


def test_validate_shows_every_output_and_fails_where_the_model_changed(tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"
    source = tmp_path / "model.py"
    source.write_text("import torch\ndef make(): return torch.nn.Linear(3, 2)\n")
    assert run("export", f"{source}:make", "--input", "x:n=1..4,3", "-o", output).exit_code == 0
    good = run("validate", f"{source}:make", output)
    assert good.exit_code == 0
    assert good.stdout.count("✓") == 4
    source.write_text("import torch\ndef make():\n    torch.manual_seed(1)\n    return torch.nn.Linear(3, 2)\n")
    bad = run("validate", f"{source}:make", output)
    assert bad.exit_code == 1
    assert "✗" in bad.stdout
    assert "is not the file the artifact was made from" in bad.stdout


def test_no_validation_says_how_to_do_it_later(tmp_path: Path) -> None:
    result = run("export", f"{SHIFTS}:Fill", "--input", "x:2,4,6,5", "-o", tmp_path / "model.onnx", "--no-validate")
    assert result.exit_code == 0
    assert "not validated; do it with: s2deploy validate" in result.stdout


class Silent(Reporter):
    """Interrupts before a stage begins or when it is over."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self._stage = stage

    def line(self, text: str = "") -> None:
        if text.startswith(self._stage):
            raise KeyboardInterrupt


@pytest.mark.parametrize("stage", ["load", "overlaps", "capture", "translate", "rewrite", "write", "validate"])
def test_ctrl_c_in_any_stage_leaves_no_file(stage: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        export("Fill", tmp_path, inputs=["x:2,4,6,5"], reporter=Silent(stage))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "arguments", "kind", "message"),
    [
        ("Shift", {"inputs": []}, UsageError, "sizes of the inputs are not known"),
        ("Shift", {"inputs": ["x:2,4,6,5", "y:3"]}, UsageError, "2 inputs"),
        ("Two", {"inputs": ["a:2,4,6,5"]}, UsageError, "1 input"),
        ("Shift", {"inputs": ["x:n=5..2,4,6,5"]}, InputSpecError, "min <= opt <= max"),
        ("Shift", {"inputs": ["x:2,4,6"]}, S2DeployError, "x|forward"),
        ("Shift", {"inputs": ["x:2,5,6,6"]}, S2DeployError, "forward"),
        ("Shift", {"inputs": ["x:2,4,6,5:int64"]}, S2DeployError, "forward"),
        ("Shift", {"value_ranges": ["y=0..1"]}, InputSpecError, "there is no input 'y'"),
        ("Shift", {"kwargs": {"colour": 1}}, UsageError, "colour"),
        ("Shift", {"data": "missing.npz"}, InputSpecError, "no such file"),
        ("Shift", {"opset": 5}, S2DeployError, "opset 5"),
        ("Shift", {"atol": -1.0}, UsageError, "tolerances"),
        ("Branch", {}, ExportError, r"shifts\.py"),
        ("Raises", {}, S2DeployError, "the config file is missing"),
        ("Missing", {}, S2DeployError, "Missing"),
    ],
)
def test_bad_input_is_named_and_leaves_no_file(
    name: str, arguments: dict[str, Any], kind: type[S2DeployError], message: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=message) as caught:
        export(name, tmp_path, **arguments)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not onnx", None])
def test_an_unreadable_onnx_file_is_an_artifact_error(content: bytes | None, tmp_path: Path) -> None:
    source = tmp_path / "source.onnx"
    if content is None:
        whole = export("Fill", tmp_path, inputs=["x:2,4,6,5"]).output
        assert whole is not None
        content = whole.read_bytes()[:-20]
        whole.unlink()
    source.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"source\.onnx"):
        s2deploy.export(source, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == [source]


def test_an_onnx_file_keeps_its_opset(exported: s2deploy.ExportResult, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has opset 20 and keeps it"):
        s2deploy.export(str(exported.output), tmp_path / "model.onnx", opset=18)


def test_a_scatter_that_stays_points_at_its_reason(tmp_path: Path) -> None:
    source = tmp_path / "twice.py"
    source.write_text(
        "import torch\n"
        "class Twice(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        m = torch.zeros(3)\n"
        "        return m.index_put((torch.tensor([0, 0, 2]),), x, accumulate=True)\n"
    )
    command = ("export", f"{source}:Twice", "--input", "x:3", "-o", tmp_path / "model.onnx")
    assert "repeat with --explain" in run(*command).stdout
    explained = run(*command, "--explain").stdout
    assert "twice" in explained
    assert "repeat with --explain" not in explained


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": nn.ReLU}, "the class ReLU"),
        ({"model": 3}, "of type int"),
        ({"inputs": "x:2,3"}, r"inputs is one text"),
        ({"value_ranges": "x=0..1"}, r"value_ranges is one text"),
    ],
)
def test_what_python_callers_mix_up_is_named(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    call: dict[str, Any] = {"model": nn.ReLU(), "inputs": ["x:2,3"], **arguments}
    with pytest.raises(UsageError, match=message):
        s2deploy.export(output=tmp_path / "model.onnx", **call)
    assert list(tmp_path.iterdir()) == []


def test_the_output_may_not_be_the_source_and_its_folder_must_exist(tmp_path: Path) -> None:
    for output, message in (
        (SHIFTS, "would overwrite"),
        (tmp_path / "a" / "b.onnx", "does not exist"),
        (tmp_path / "model", "is not named .onnx"),
    ):
        result = run("export", f"{SHIFTS}:Fill", "--input", "x:2,4,6,5", "-o", output)
        assert result.exit_code == 2
        assert message in result.stderr


def test_a_full_folder_for_temporary_files_is_named_where_ends_of_ranges_are_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(onnx_file, "write", full)
    model = ir.from_proto(make("(float[n] x) => (float[n] y)", "y = Neg(x)"))
    doubt = Doubt(({"n": 2},), ExportError("wrong at its end"))
    with pytest.raises(ArtifactError, match=r"cannot write temporary files to .*: No space left on device"):
        dispel(doubt, model, lambda feed: {"y": -feed["x"]}, parse_inputs(["x:n=1..4"]), Reporter())
