"""Small ONNX models, written in the ONNX text format so that no framework is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser


def make(signature: str, body: str, weights: dict[str, np.ndarray] | None = None, opset: int = 20) -> onnx.ModelProto:
    """Returns a checked model of the given inputs, outputs, nodes and weights."""
    model = parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]> g {signature} {{ {body} }}')
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in (weights or {}).items())
    onnx.checker.check_model(model)
    return model


def save(model: onnx.ModelProto, path: Path, **metadata: str) -> Path:
    """Writes a model, with metadata whose keys get the prefix ``s2deploy.``."""
    for key, value in metadata.items():
        model.metadata_props.add(key=f"s2deploy.{key}", value=value)
    onnx.save(model, path)
    return path


def weights(*shape: int, dtype: type = np.float32, seed: int = 0) -> np.ndarray:
    """Returns random weights."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def perceptron(batch: int | str = 4) -> onnx.ModelProto:
    """Returns ``Gelu(x @ w + b) @ v`` over float32 of 16 features."""
    return make(
        f"(float[{batch},16] x) => (float[{batch},8] y)",
        "a = MatMul(x, w) b = Add(a, bias) c = Gelu(b) y = MatMul(c, v)",
        {"w": weights(16, 32), "bias": weights(32), "v": weights(32, 8)},
    )


def convolution() -> onnx.ModelProto:
    """Returns a convolution and a Relu: no matrix product."""
    return make(
        "(float[1,3,8,8] x) => (float[1,4,8,8] y)",
        "a = Conv<pads = [1, 1, 1, 1]>(x, w) y = Relu(a)",
        {"w": weights(4, 3, 3, 3)},
    )
