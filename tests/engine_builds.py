"""What tests of builds share: options in short, calibration data, the files of a folder, builds on a fake."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import small_models
from small_models import save

from s2deploy.engine.request import Answer, Request
from s2deploy.options import BuildOptions, PrecisionOptions
from s2deploy.specs import Precision, Target

FAKE = Path(__file__).with_name("fake_build.py")
needs_rtx = pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed")


def options(precision: Precision = Precision.FP32, **others) -> BuildOptions:
    typing = {
        key: others.pop(key) for key in ("fp16_io", "tf32", "keep_fp32", "calibration", "accept_loss") if key in others
    }
    return BuildOptions(typing=PrecisionOptions(precision, **typing), **others)


def calibration_in(folder: Path) -> Path:
    """Writes one feed of the perceptron."""
    path = folder / "feed.npz"
    np.savez(path, x=np.random.default_rng(1).standard_normal((8, 16)).astype(np.float32))
    return path


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Gives every node the name of its output."""
    for node in model.graph.node:
        node.name = node.output[0]
    return model


def carry_out(version: str, request: Request, *, stubborn: tuple[str, ...] = ()) -> tuple[list[list[str]], Answer]:
    """Builds with the fake of a version and returns the recorded calls and the answer."""
    asked = {"version": version, "stubborn": stubborn, "request": request.to_json()}
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, str(FAKE)], input=json.dumps(asked), capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": path}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    return told["calls"], Answer.from_json(told["answer"])


def request(folder: Path, version: str, model: onnx.ModelProto | None = None, **others) -> Request:
    path = save(model or named(small_models.perceptron("batch")), folder / "model.onnx")
    return Request(str(path), str(folder / "model.plan"), Target.TENSORRT, version, **others)
