"""Weights of ONNX files: mapped and copied, in one file or beside it, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_models import make, weights

import s2deploy
from s2deploy import onnx_file
from s2deploy.errors import ArtifactError, UsageError


def external(path: Path, **entries: Any) -> Path:
    """Writes a model with one weight of 128x64 in external data behind 64 bytes of something else."""
    array = weights(128, 64)
    path.with_suffix(".data").write_bytes(b"\0" * 64 + array.tobytes())
    model = make("(float[2,128] x) => (float[2,64] y)", "y = MatMul(x, w)", {"w": array})
    (weight,) = model.graph.initializer
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    place = {"location": path.with_suffix(".data").name, "offset": 64, "length": array.nbytes} | entries
    for key, value in place.items():
        weight.external_data.add(key=key, value=str(value))
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_in_external_data_stay_mapped_and_come_out_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "_TAKEN_IN_BYTES", 1000)
    source = external(tmp_path / "in.onnx")
    result = s2deploy.export(source, tmp_path / "out.onnx")
    assert result.comparison is not None
    assert result.comparison.identical
    assert {path.name for path in tmp_path.iterdir()} == {"in.data", "in.onnx", "out.onnx", "out.onnx.data"}
    (weight,) = onnx.load(tmp_path / "out.onnx").graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(weight), weights(128, 64))
    assert result.size_bytes == sum((tmp_path / name).stat().st_size for name in ("out.onnx", "out.onnx.data"))


def test_small_external_data_is_taken_in(tmp_path: Path) -> None:
    s2deploy.export(external(tmp_path / "in.onnx"), tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx.data").exists()
    assert onnx.load(tmp_path / "out.onnx", load_external_data=False).graph.initializer[0].raw_data


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "missing.data"}, "is missing"),
        ({"location": "../in.data"}, "outside its own folder"),
        ({"location": "/etc/hostname"}, "outside its own folder"),
        ({"offset": 100}, "too short"),
        ({"length": 1 << 20}, "too short"),
    ],
)
def test_external_data_that_is_not_there_is_named(entries: dict[str, Any], message: str, tmp_path: Path) -> None:
    source = external(tmp_path / "in.onnx", **entries)
    with pytest.raises(ArtifactError, match=message):
        s2deploy.export(source, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_the_output_may_not_replace_the_weights_of_its_source(tmp_path: Path) -> None:
    source = external(tmp_path / "in.onnx", location="out.onnx.data")
    (tmp_path / "in.data").rename(tmp_path / "out.onnx.data")
    with pytest.raises(UsageError, match="would overwrite"):
        s2deploy.export(source, tmp_path / "out.onnx")


def test_a_file_above_two_gigabytes_asks_for_external_data(tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        os.truncate(file.fileno(), 1 << 31)
    with pytest.raises(ArtifactError, match="larger than 2 GB") as caught:
        onnx_file.read(path)
    assert "external" in str(caught.value.hint)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.uint8])
def test_a_file_written_tensor_by_tensor_is_the_file(dtype: type, tmp_path: Path) -> None:
    arrays = {"w": (weights(300, 200) * 50).astype(dtype), "v": np.array([1, 2], np.int64)}
    model = make("(float[2] x) => (float[2] y)", "y = Relu(x)", arrays)
    model.graph.initializer[0].doc_string = "a weight"
    model.graph.initializer.append(helper.make_tensor("t", TensorProto.STRING, [2], [b"a", b"b"]))
    onnx_file.write(ir.from_proto(model), tmp_path / "out.onnx")
    written = onnx.load(tmp_path / "out.onnx")
    onnx.checker.check_model(written)
    assert [tensor.name for tensor in written.graph.initializer] == ["w", "v", "t"]
    assert written.graph.initializer[0].doc_string == "a weight"
    for before, after in zip(model.graph.initializer, written.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(before), numpy_helper.to_array(after))
    assert [node.op_type for node in written.graph.node] == ["Relu"]
    assert written.opset_import == model.opset_import


def test_a_disk_that_fills_up_while_weights_are_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx_file, "save", full)
    with pytest.raises(ArtifactError, match="the disk is full"):
        s2deploy.export(external(tmp_path / "in.onnx"), tmp_path / "out.onnx")
    assert {path.name for path in tmp_path.iterdir()} == {"in.data", "in.onnx"}
