"""Shapes are known behind onnxruntime's own operators, so that assignments behind them are understood."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper
from rewriting import check, op_types

from s2deploy.rewrite import rewrite

DOMAIN = "com.microsoft"


def behind(op_type: str, weights: dict[str, tuple[int, ...]], shape: tuple[int, ...], **attributes: Any) -> Any:
    """Returns a model that assigns to rows 1 and 2 of axis 0 behind an operator, of which no shape is stated."""
    nodes = [
        helper.make_node(op_type, ["x", *weights], ["a"], domain=DOMAIN, **attributes),
        helper.make_node("Slice", ["a", "zero", "two"], ["s"]),
        helper.make_node("ScatterND", ["a", "rows", "s"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(size).astype(np.float32) for name, size in weights.items()}
    arrays |= {"zero": np.array([0]), "two": np.array([2]), "rows": np.array([[1], [2]])}
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None] * len(shape))
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    versions = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(helper.make_graph(nodes, "g", [x], [y], constants), opset_imports=versions, ir_version=8)


@pytest.mark.parametrize(
    ("op_type", "weights", "shape", "attributes"),
    [
        ("FusedConv", {"w": (4, 2, 3, 3), "b": (4,)}, (3, 2, 5, 6), {"activation": "Relu", "pads": [1, 1, 1, 1]}),
        ("FusedMatMul", {"w": (5, 4)}, (3, 2, 5), {"alpha": 2.0}),
        ("FusedGemm", {"w": (4, 5), "b": (4,)}, (3, 5), {"transB": 1, "activation": "Relu"}),
        ("Gelu", {}, (3, 5), {}),
        ("BiasGelu", {"b": (5,)}, (3, 5), {}),
    ],
)
def test_assignments_behind_fused_operators_are_understood(
    op_type: str, weights: dict[str, tuple[int, ...]], shape: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    result, report = check(behind(op_type, weights, shape, **attributes))
    assert report.scatters_after == 0
    assert op_types(result)[op_type] == 1


@pytest.mark.parametrize(
    ("op_type", "weights", "attributes"),
    [("FusedMatMul", {"w": (4, 5)}, {"transB": 1}), ("NobodyKnows", {}, {})],
)
def test_other_operators_say_nothing(
    op_type: str, weights: dict[str, tuple[int, ...]], attributes: dict[str, Any]
) -> None:
    graph = ir.from_proto(behind(op_type, weights, (3, 5), **attributes))
    report = rewrite(graph)
    assert report.scatters_after == 1
    assert "the rank of a is not known" in report.refusals[0].reason
