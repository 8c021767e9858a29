"""What tests of builds share: options in short, calibration data, the files of a folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from s2deploy.options import BuildOptions, PrecisionOptions
from s2deploy.specs import Precision

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
