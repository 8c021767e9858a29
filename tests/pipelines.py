"""What the tests of both example pipelines share: a tiny classifier and images."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

ROOT = Path(__file__).parent.parent
PYTHON_PIPELINE = "examples/python_pipeline/main.py"
MEAN, STD = "0.4,0.5,0.6", "0.2,0.25,0.3"


def script(path: str) -> Any:
    """Returns a script of the project as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_model(path: Path, batch: int | str = "batch") -> Path:
    """Writes a model whose scores are the means of the channels."""
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["pooled"]), helper.make_node("Flatten", ["pooled"], ["scores"])],
        "means",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, "height", "width"])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def write_images(folder: Path, count: int, size: tuple[int, int] = (5, 7)) -> list[np.ndarray]:
    """Writes color images, one with a comment in its header, and returns their pixels, C x H x W."""
    folder.mkdir(exist_ok=True)
    height, width = size
    images = []
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        comment = b"# from a camera\n" if number == 1 else b""
        header = b"P6\n" + comment + f"{width} {height}\n255\n".encode()
        (folder / f"{number:02}.ppm").write_bytes(header + pixels.tobytes())
        images.append(pixels.transpose(2, 0, 1))
    return images


def expected_scores(images: list[np.ndarray]) -> np.ndarray:
    """Returns the scores of images, computed in float64."""
    mean, std = (np.array([float(part) for part in text.split(",")])[:, None, None] for text in (MEAN, STD))
    return np.array([((image / 255 - mean) / std).mean(axis=(1, 2)) for image in images])
