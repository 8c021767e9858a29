from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from s2deploy.errors import ArtifactError
from s2deploy.sidecar import (
    Device,
    EngineTensor,
    FileIdentity,
    Loss,
    OutputLoss,
    ProfileShapes,
    Proof,
    Sidecar,
    identify,
    read_sidecar,
    sidecar_path,
)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    plan = tmp_path / "model.v2.plan"
    plan.write_bytes(b"a plan")
    sidecar_path(plan).write_text(sidecar_for(plan).to_json(), encoding="utf-8")
    return plan


def sidecar_for(plan: Path) -> Sidecar:
    return Sidecar(
        onnx=replace(identify(plan), name="model.onnx"),
        plan=identify(plan),
        target="rtx",
        precision="fp16",
        capabilities=("8.0", "8.9"),
        versions={"tensorrt_rtx": "1.7.1"},
        profiles=({"x": ProfileShapes((1, 2), (3, 2), (4, 2))},),
        inputs=(EngineTensor("x", (-1, 2), "float32"),),
        outputs=(EngineTensor("y", (-1,), "float16"),),
        options={"tf32": True},
        build_seconds=0.5,
        semantics="clone",
        state={"last_out": "last"},
        device=Device("NVIDIA A10", "8.6"),
        proof=Proof("engine", {"float16": 2}, ("mm",)),
        plugins=(FileIdentity("shift.so", "0" * 64, 3),),
        loss=Loss("random", 2, (OutputLoss("y", 0.5, 0.1, 3.0), OutputLoss("i", None, 0.0, 1.0)), ("output 'y': ...",)),
    )


def test_what_is_written_is_read(plan: Path) -> None:
    assert read_sidecar(plan) == sidecar_for(plan)
    assert sidecar_path(plan).name == "model.v2.plan.json"
    assert next(iter(json.loads(sidecar_path(plan).read_text("utf-8")))) == "schema"


def test_a_changed_plan_is_noticed(plan: Path) -> None:
    plan.write_bytes(b"b plan")
    with pytest.raises(ArtifactError, match="is not the plan"):
        read_sidecar(plan)


def test_a_missing_plan_is_noticed(plan: Path) -> None:
    plan.unlink()
    with pytest.raises(ArtifactError, match="cannot read"):
        read_sidecar(plan)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "{", '{"schema": 1}', '{"schema": 99}', "null", '"x"'],
)
def test_a_damaged_sidecar_is_an_artifact_error(plan: Path, text: str) -> None:
    sidecar_path(plan).write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match="is damaged") as caught:
        read_sidecar(plan)
    assert caught.value.hint == "build the plan again with s2deploy build"


def test_any_missing_field_is_noticed(plan: Path) -> None:
    data = json.loads(sidecar_path(plan).read_text("utf-8"))
    for key in ("onnx", "plan", "profiles", "inputs", "target", "versions"):
        sidecar_path(plan).write_text(json.dumps({k: v for k, v in data.items() if k != key}), encoding="utf-8")
        with pytest.raises(ArtifactError, match="is damaged"):
            read_sidecar(plan)


def test_a_sidecar_of_an_older_version_is_read(plan: Path) -> None:
    data = json.loads(sidecar_path(plan).read_text("utf-8"))
    del data["device"], data["proof"], data["plugins"], data["loss"]
    sidecar_path(plan).write_text(json.dumps(data), encoding="utf-8")
    assert read_sidecar(plan) == replace(sidecar_for(plan), device=None, proof=None, plugins=(), loss=None)


def test_a_missing_sidecar_says_so(plan: Path) -> None:
    sidecar_path(plan).unlink()
    with pytest.raises(ArtifactError, match=r"has no sidecar model\.v2\.plan\.json"):
        read_sidecar(plan)
