"""An exported file says what it was made from, and that can be read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from s2deploy.errors import ArtifactError, UsageError
from s2deploy.metadata import Metadata, installed_versions, read_metadata
from s2deploy.specs import Tolerance, parse_inputs

METADATA = Metadata(
    source="model.py:Model",
    source_sha256="00ff",
    weights="weights.safetensors",
    weights_sha256="ff00",
    inputs=parse_inputs(["x:batch=1..8..64,3,height=28..448/28:float16", "i:0:batch,7:int64"], ["i:0=-2..9"]),
    kwargs={"channels": 96, "name": "ü"},
    opset=20,
    guards=("height >= 2",),
    tolerance=Tolerance(1e-5, 1e-6),
    versions={"torch": "2.13.0"},
)


def _save(path: Path, props: dict[str, str]) -> Path:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    other = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [other]))
    helper.set_model_props(model, props)
    onnx.save(model, path)
    return path


def test_metadata_survives_a_file(tmp_path: Path) -> None:
    path = _save(tmp_path / "model.onnx", METADATA.to_props())
    assert read_metadata(path) == METADATA


def test_open_dimensions_are_validated_but_not_declared() -> None:
    metadata = replace(METADATA, open_dims=("batch",))
    props = metadata.to_props()
    assert "s2deploy.inputs" not in props
    assert Metadata.from_props(props, Path("model.onnx")) == metadata


def test_every_value_but_the_semantics_is_json_under_one_prefix() -> None:
    props = METADATA.to_props()
    assert props.pop("s2deploy.semantics") == "clone"
    assert all(key.startswith("s2deploy.") for key in props)
    assert json.loads(props["s2deploy.inputs"])[0] == "x:batch=1..8..64,3,height=28..448/28:float16"
    assert all(json.loads(text) is not ... for text in props.values())


def test_a_foreign_onnx_file_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="was not written by s2deploy"):
        read_metadata(_save(tmp_path / "model.onnx", {}))


@pytest.mark.parametrize("broken", ["{", "[]", "null", '["x:1..2"]'])
def test_damaged_metadata_is_an_artifact_error(broken: str) -> None:
    path = Path("model.onnx")
    with pytest.raises(ArtifactError, match="is damaged"):
        Metadata.from_props(METADATA.to_props() | dict.fromkeys(("s2deploy.inputs", "s2deploy.source"), broken), path)


def test_a_missing_file_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_metadata(tmp_path / "model.onnx")


@pytest.mark.parametrize("content", [b"not onnx at all", b""])
def test_an_unreadable_file_is_an_artifact_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ArtifactError):
        read_metadata(path)


def test_versions_are_those_installed() -> None:
    assert installed_versions(["onnx", "no-such-package"]) == {"onnx": onnx.__version__}
