"""Sparse tensors become ordinary ones; what cannot is named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from rewriting import assert_same_bits, session
from small_models import make

from s2deploy import onnx_file
from s2deploy.errors import ArtifactError
from s2deploy.onnx_sparse import make_dense

HEAD = '<ir_version: 9, opset_import: ["": 18]> g'


def sparse(shape: Sequence[int], places: object, values: Sequence[float] = (2, 3)) -> onnx.SparseTensorProto:
    elements = numpy_helper.from_array(np.array(values, np.float32), "w")
    return helper.make_sparse_tensor(elements, numpy_helper.from_array(np.array(places), "p"), list(shape))


def model(tensor: onnx.SparseTensorProto, *, constant: bool) -> onnx.ModelProto:
    """Returns ``x * w`` with a sparse w in a branch of an If."""
    condition = "(bool c, float[2,3] x) => (float[2,3] y)"
    left = "else_branch = l () => (float[2,3] a) { a = Identity(x) }"
    right = "then_branch = r () => (float[2,3] b) { b = Mul(x, w) }"
    found = onnx.parser.parse_model(f"{HEAD} {condition} {{ y = If<{right}, {left}>(c) }}")
    body = next(a.g for a in found.graph.node[0].attribute if a.name == "then_branch")
    if constant:
        body.node.insert(0, helper.make_node("Constant", [], ["w"], sparse_value=tensor))
    else:
        body.sparse_initializer.append(tensor)
    return found


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("places", [[1, 5], [[0, 1], [1, 2]]])
def test_sparse_tensors_are_read(places: object, constant: bool, tmp_path: Path) -> None:
    onnx.save(model(sparse((2, 3), places), constant=constant), tmp_path / "source.onnx")
    onnx_file.write(onnx_file.read(tmp_path / "source.onnx"), tmp_path / "out.onnx")
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = x * np.array([[0, 2, 0], [0, 0, 3]], np.float32)
    given = {"c": np.array(True), "x": x}
    assert_same_bits([expected], session(onnx.load(tmp_path / "out.onnx")).run(None, given))


def test_a_function_may_hold_one() -> None:
    found = make("(float[2,3] x) => (float[2,3] y)", "y = Relu(x)")
    node = helper.make_node("Constant", [], ["w"], sparse_value=sparse((2, 3), [1, 5]))
    found.functions.append(helper.make_function("my", "f", [], ["w"], [node], [helper.make_opsetid("", 18)]))
    make_dense(found)
    (attribute,) = found.functions[0].node[0].attribute
    assert numpy_helper.to_array(attribute.t).tolist() == [[0, 2, 0], [0, 0, 3]]


def test_one_that_is_too_large_is_named(tmp_path: Path) -> None:
    onnx.save(model(sparse((1 << 20, 1 << 20), [1, 5]), constant=False), tmp_path / "source.onnx")
    with pytest.raises(ArtifactError, match=r"sparse weight 'w' .* is too large"):
        onnx_file.read(tmp_path / "source.onnx")


def test_external_elements_are_refused() -> None:
    tensor = sparse((2, 3), [1, 5])
    tensor.values.data_location = onnx.TensorProto.EXTERNAL
    with pytest.raises(ArtifactError, match="'w' is in external data"):
        make_dense(model(tensor, constant=False))


def test_maps_are_refused_by_name(tmp_path: Path) -> None:
    number = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [])
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(onnx.TensorProto.INT64, number))
    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 2])
    graph = helper.make_graph([node], "g", [value], [helper.make_value_info("y", maps)])
    onnx.save(helper.make_model(graph), tmp_path / "source.onnx")
    with pytest.raises(ArtifactError, match=r"cannot be rewritten: Map types") as caught:
        onnx_file.read(tmp_path / "source.onnx")
    assert "zipmap" in str(caught.value.hint)
