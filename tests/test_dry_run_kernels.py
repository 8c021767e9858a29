"""What is asked for with ``--plugin``, and what a dry run says of models with operators of the plugins."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_builds import options
from test_engine_kernels import library, needs_compiler, saved

import s2deploy
from s2deploy.engine import dry_run, targets
from s2deploy.pipeline.kernels import Asked
from s2deploy.specs import Dim, Precision, Target, TensorSpec


@needs_compiler
def test_words_and_libraries_are_told_apart(tmp_path: Path) -> None:
    lib = library(tmp_path / "lib")
    other = tmp_path / "other.so"
    other.write_bytes(b"other")
    asked = Asked.of([other, "auto", str(lib), "always"])
    assert asked == Asked((other,), lib, auto=True, always=True)


@needs_compiler
def test_a_dry_run_without_tensorrt_is_for_the_version_of_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = saved(tmp_path / "model.onnx")
    monkeypatch.setattr(targets, "_version", lambda target: None)
    for major, family in ((8, "TensorRT 8.6"), (10, "TensorRT 10.16"), (11, "TensorRT 11.1")):
        lib = library(tmp_path / str(major), tensorrt=major)
        for target in (None, "tensorrt"):
            assert s2deploy.dry_run(model, target=target, plugins=[lib]).family == family


@needs_compiler
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16, Precision.BF16])
@pytest.mark.parametrize("batch", [2, "batch"])
def test_a_dry_run_knows_the_sizes_behind_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int | str, precision: Precision
) -> None:
    monkeypatch.setattr(targets, "_version", lambda target: None)
    model = saved(tmp_path / "model.onnx", batch)
    ranges = () if batch == 2 else ((TensorSpec("x", (Dim("n", 1, 2, 3), *map(Dim.fixed, (4, 5, 8)))),),)
    asked = options(precision, target=Target.TENSORRT, kernels=library(tmp_path / "lib", tensorrt=11), profiles=ranges)
    found = dry_run(model, asked)
    assert found.operators_changed.keys() >= {"Slice", "Pad", "Concat"}
    assert "s2deploy::ShiftSum" not in found.operators_changed
    (peak,) = found.activations
    # two maps of 2 x 4 x 5 x 12, the second the first shifted
    assert (peak.unknown, peak.peak_bytes) == (0, 2 * 2 * 4 * 5 * 12 * (4 if precision is Precision.FP32 else 2))
