"""The runtime that a file is to be fast on, from the option to the metadata."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from small_models import make, save, weights

from s2deploy.cli import cli
from s2deploy.errors import UsageError
from s2deploy.metadata import read_metadata
from s2deploy.pipeline import export
from s2deploy.rewrite.runtime_costs import COSTS, ONNXRUNTIME_CPU
from s2deploy.specs import Runtime
from s2deploy.summary import export_lines


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Returns a linear map along the channels of an image, between Transposes."""
    body = "a = Transpose<perm = [0, 2, 3, 1]>(x) b = MatMul(a, w) y = Transpose<perm = [0, 3, 1, 2]>(b)"
    return save(make("(float[2,8,9,9] x) => (float[2,8,9,9] y)", body, {"w": weights(8, 8)}), tmp_path / "in.onnx")


def test_the_choice_is_shown_and_recorded(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    result = export(source, output, target_runtime="tensorrt")
    assert result.passed
    (layout,) = result.rewrites.layouts
    lines = export_lines(result, "in.onnx", explain=True)
    assert "layouts for tensorrt: 1" in lines
    assert f"  {layout}" in lines
    metadata = read_metadata(output)
    assert (metadata.target_runtime, metadata.layouts) == ("tensorrt", (str(layout),))
    assert [node.op_type for node in onnx.load(output).graph.node] == ["Conv"]


def test_the_default_is_portable(source: Path, tmp_path: Path) -> None:
    export(source, tmp_path / "out.onnx")
    assert read_metadata(tmp_path / "out.onnx").target_runtime == "portable"


def test_a_runtime_that_is_not_known(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no target runtime 'abacus'") as error:
        export(source, tmp_path / "out.onnx", target_runtime="abacus")
    assert "onnxruntime-cpu, tensorrt, portable" in str(error.value.hint)
    arguments = ["export", str(source), "-o", str(tmp_path / "out.onnx"), "--target-runtime", "abacus"]
    assert CliRunner().invoke(cli, arguments).exit_code == 2
    assert not (tmp_path / "out.onnx").exists()


def test_every_runtime_has_costs() -> None:
    assert set(COSTS) == set(Runtime)


def test_costs_grow_with_what_moves() -> None:
    costs = ONNXRUNTIME_CPU
    assert costs.transposition([1, 8, 1, 9], [0, 2, 1, 3]) == costs.view_ns
    assert costs.transposition([1, 8, 7, 9], [0, 2, 3, 1]) > costs.view_ns
    assert costs.movement(1 << 16, 4) > costs.movement(1 << 16, 1 << 10)
    assert costs.linear("MatMul", 100, 8, 8, bias=True) > costs.linear("MatMul", 100, 8, 8, bias=False)
    assert costs.linear("Conv", 100, 8, 8, bias=True) == costs.linear("Conv", 100, 8, 8, bias=False)
    per_element = [costs.elementwise.of(count) / count for count in (1, 1 << 18, 1 << 20, 1 << 24)]
    assert np.all(np.diff(per_element) >= 0)
