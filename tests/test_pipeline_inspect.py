"""`inspect`: what it says of ONNX files, plans and models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import small_models
import torch
from click.testing import CliRunner, Result
from test_sidecar import sidecar_for

from s2deploy import pipeline, summary_artifacts
from s2deploy.cli import cli
from s2deploy.errors import ArtifactError, UsageError
from s2deploy.inspection import ModelInspection, OnnxInspection, PlanInspection
from s2deploy.metadata import Metadata
from s2deploy.sidecar import sidecar_path
from s2deploy.specs import parse_inputs


def show(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["inspect", *map(str, arguments)])


def lines(inspection: object) -> dict[str, str]:
    return {line.split("  ")[0].strip(): line for line in summary_artifacts.inspect_lines(inspection)}  # type: ignore[arg-type]


def test_an_onnx_file_of_another_framework(tmp_path: Path) -> None:
    model = small_models.make(
        "(float[N,4] x, int64[2,1] at, float[2,4] v) => (float[N,8] y)",
        "s = ScatterND(x, at, v) y = MatMul(s, w)",
        {"w": small_models.weights(4, 8)},
    )
    model.producer_name, model.producer_version = "other", "3"
    path = small_models.save(model, tmp_path / "model.onnx")
    found = pipeline.inspect(path)
    assert isinstance(found, OnnxInspection)
    assert (found.nodes, found.scatters, found.products) == (2, 1, {"float32": 1})
    assert found.operators == {"ScatterND": 1, "MatMul": 1}
    assert found.weight_bytes == {"float32": 128}
    assert (found.inputs[0].name, found.inputs[0].shape, found.inputs[0].dtype) == ("x", ("N", 4), "float32")
    assert found.provenance is None
    shown = lines(found)
    assert "by other 3" in shown["file"]
    assert shown["output"].endswith("y:N,8:float32")
    assert "not written by s2deploy" in shown["made by"]


def test_an_export_of_ours_tells_where_it_came_from(tmp_path: Path) -> None:
    model = small_models.make("(float[batch,5] x) => (float[batch,5] y)", "y = Neg(x)")
    made = Metadata(
        source="net.py:Net",
        source_sha256="0" * 64,
        inputs=parse_inputs(["x:batch=1..4,5"]),
        opset=20,
        weights="net.pt",
        versions={"torch": "2.13.0"},
    )
    for key, text in made.to_props().items():
        model.metadata_props.add(key=key, value=text)
    small_models.save(model, tmp_path / "model.onnx")
    shown = show(tmp_path / "model.onnx")
    assert shown.exit_code == 0
    assert "x:batch=1..4,5" in shown.stdout
    assert "clone semantics" in shown.stdout
    assert "net.py:Net (SHA-256 000000000000...)" in shown.stdout
    document = json.loads(show(tmp_path / "model.onnx", "--json").stdout)
    assert document["kind"] == "onnx"
    assert document["scatters"] == 0
    assert document["provenance"]["versions"]["torch"] == "2.13.0"
    assert document["inputs"][0]["range"] == "x:batch=1..4,5"


def test_types_of_products_functions_and_plugins(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 20, "s2": 1]> g (float16[4,4] x, float[4,4] z) => (float[4,4] y) {
        a = MatMul(x, x) b = s2.shift(z) q = s2.known(b)
        c = QuantizeLinear(q, one, zero) d = DequantizeLinear(c, one, zero) y = MatMul(d, d)
    }
    <domain: "s2", opset_import: ["": 20]> known (i) => (o) { o = Relu(i) }"""
    model = onnx.parser.parse_model(text)
    for name, value in (("one", np.float32(1)), ("zero", np.int8(0))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), name))
    onnx.save(model, tmp_path / "model.onnx")
    found = pipeline.inspect(tmp_path / "model.onnx")
    assert isinstance(found, OnnxInspection)
    assert found.products == {"float16": 1, "int8": 1}
    assert (found.functions, found.plugins) == (("s2::known",), ("s2::shift",))
    assert found.opsets == {"ai.onnx": 20, "s2": 1}


def test_weights_beside_the_file_are_named(tmp_path: Path) -> None:
    onnx.save(
        small_models.perceptron(), tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    found = pipeline.inspect(tmp_path / "m.onnx")
    assert isinstance(found, OnnxInspection)
    assert found.data_files == ("w.bin",)
    assert "in w.bin" in "\n".join(summary_artifacts.inspect_lines(found))


@pytest.mark.parametrize("suffix", [".plan", ".engine"])
def test_a_plan_is_told_from_its_sidecar(tmp_path: Path, suffix: str) -> None:
    plan = tmp_path / f"model{suffix}"
    plan.write_bytes(b"a plan")
    with pytest.raises(ArtifactError, match="has no sidecar"):
        pipeline.inspect(plan)
    sidecar_path(plan).write_text(sidecar_for(plan).to_json(), encoding="utf-8")
    found = pipeline.inspect(plan)
    assert isinstance(found, PlanInspection)
    shown = lines(found)
    assert "TensorRT-RTX 1.7.1 with compute capability 8.0 or 8.9, built on NVIDIA A10 (8.6)" in shown["runs on"]
    assert shown["profile 0"].endswith("x  min 1x2, opt 3x2, max 4x2")
    assert shown["input"].endswith("x:?,2:float32")
    assert "shift.so" in shown["plugins"]
    assert "2 float16, read back from the engine" in shown["proof"]
    document = json.loads(show(plan, "--json").stdout)
    assert document["sidecar"]["profiles"] == [{"x": {"min": [1, 2], "opt": [3, 2], "max": [4, 2]}}]
    plan.write_bytes(b"b plan")
    assert show(plan).exit_code == 1
    with pytest.raises(UsageError, match="go with a factory"):
        pipeline.inspect(plan, kwargs={"a": 1})


def test_models_are_counted(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("import torch\ndef net(n=3): return torch.nn.Sequential(torch.nn.Linear(n, 4))\n")
    shown = show(f"{tmp_path / 'net.py'}:net", "--kwargs", '{"n": 5}')
    assert shown.exit_code == 0
    assert "24 parameters, 96 B in float32" in shown.stdout
    assert "1 Linear" in shown.stdout
    program = torch.export.export(torch.nn.Linear(3, 4), (torch.ones(2, 3),))
    torch.export.save(program, tmp_path / "m.pt2")
    found = pipeline.inspect(tmp_path / "m.pt2")
    assert isinstance(found, ModelInspection)
    assert (found.kind, found.parameters) == ("exported_program", 16)
    assert [(tensor.shape, tensor.dtype) for tensor in found.inputs] == [((2, 3), "float32")]


@pytest.mark.parametrize(("name", "code"), [("missing.plan", 2), ("missing.onnx", 2), ("broken.onnx", 1)])
def test_files_that_cannot_be_inspected(tmp_path: Path, name: str, code: int) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"\x08no model")
    shown = show(tmp_path / name)
    assert shown.exit_code == code
    assert "hint: " in shown.stderr
