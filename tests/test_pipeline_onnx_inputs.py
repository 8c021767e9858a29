"""The inputs of an ONNX file: its own shapes, the user's ranges and names, and sizes found by trying."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
import pytest

from s2deploy.errors import InputSpecError, SourceError
from s2deploy.pipeline.onnx_inputs import resolve_inputs
from s2deploy.rewrite.coordinates import parse
from s2deploy.specs import Dim, TensorSpec, parse_inputs

Shape = Sequence[int | str | None] | None


def model_of(*inputs: tuple[str, Shape, ir.DataType], middle: Shape = None) -> ir.Model:
    values = [
        ir.Value(name=name, shape=None if shape is None else ir.Shape(shape), type=ir.TensorType(dtype))
        for name, shape, dtype in inputs
    ]
    node = ir.node("Identity", [values[0]])
    node.outputs[0].name = "y"
    if middle is not None:
        node.outputs[0].shape = ir.Shape(middle)
    graph = ir.Graph(values, node.outputs, nodes=[node], opset_imports={"": 20})
    return ir.Model(graph, ir_version=10)


def never(specs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> bool:
    raise AssertionError("nothing needs to be tried")


def shape_of(value: ir.Value) -> list[int | str | None]:
    assert value.shape is not None
    return [size if isinstance(size, int) else size.value for size in value.shape]


def test_a_static_file_is_its_own_specification() -> None:
    model = model_of(("x", [2, 3], ir.DataType.FLOAT), ("n", [], ir.DataType.INT64))
    inputs = resolve_inputs(model, (), never)
    assert inputs.specs == parse_inputs(["x:2,3:float32", "n::int64"])
    assert inputs.declared == {}
    assert inputs.remarks == ()


def test_the_users_names_and_ranges_replace_the_files_everywhere() -> None:
    model = model_of(("x", ["N", 3, "s0"], ir.DataType.FLOAT), middle=["N", 3, "s0"])
    inputs = resolve_inputs(model, parse_inputs(["x:batch=1..8,3,h=2..9"]), never)
    assert inputs.specs == parse_inputs(["x:batch=1..8,3,h=2..9:float32"])
    assert inputs.declared == {"batch": Dim("batch", 1, 8, 8), "h": Dim("h", 2, 9, 9)}
    assert shape_of(model.graph.inputs[0]) == shape_of(model.graph.outputs[0]) == ["batch", 3, "h"]


def test_a_size_given_for_a_dynamic_axis_makes_it_static() -> None:
    model = model_of(("x", ["N", None], ir.DataType.FLOAT), middle=["N", None])
    inputs = resolve_inputs(model, parse_inputs(["x:4,7"]), never)
    assert shape_of(model.graph.inputs[0]) == [4, 7]
    assert shape_of(model.graph.outputs[0]) == [4, None]
    assert inputs.specs[0].dynamic == ()


def test_a_name_of_the_file_that_now_means_something_else_is_forgotten() -> None:
    model = model_of(("x", ["N", None], ir.DataType.FLOAT), middle=["N", "h"])
    resolve_inputs(model, parse_inputs(["x:N=1..2,h=1..3"]), never)
    assert shape_of(model.graph.outputs[0]) == ["N", None]


def test_dimensions_without_a_range_are_tried_small_and_stay_undeclared() -> None:
    tried = []

    def runs(specs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> bool:
        tried.append(dict(sizes))
        return sizes["h"] % 32 == 0

    model = model_of(("x", ["batch", 3, "h", "w"], ir.DataType.FLOAT))
    inputs = resolve_inputs(model, (), runs)
    assert tried[0] == {"batch": 2, "h": 8, "w": 8}
    assert inputs.specs == parse_inputs(["x:batch=2..2..3,3,h=32..32..64/32,w=32..32..64/32:float32"])
    assert inputs.declared == {}
    assert inputs.open_dims == ("batch", "h", "w")
    assert "h has no range: validated at 32 and 64" in inputs.remarks[1]


def test_a_model_that_runs_at_one_size_only_is_validated_there() -> None:
    model = model_of(("x", ["batch", "h"], ir.DataType.FLOAT))
    inputs = resolve_inputs(model, (), lambda specs, sizes: sizes == {"batch": 1, "h": 224})
    assert inputs.specs == parse_inputs(["x:batch=1..1,h=224..224:float32"])


def test_a_model_that_runs_nowhere_asks_for_sizes() -> None:
    model = model_of(("x", ["batch", "h"], ir.DataType.FLOAT))
    with pytest.raises(SourceError, match="none of the sizes tried for batch, h") as caught:
        resolve_inputs(model, (), lambda specs, sizes: False)
    assert "--input" in str(caught.value.hint)


def test_data_settles_the_sizes_without_trying() -> None:
    model = model_of(("x", ["batch", "h"], ir.DataType.FLOAT))
    inputs = resolve_inputs(model, (), never, {"x": np.zeros((5, 6))})
    assert inputs.specs == parse_inputs(["x:batch=5..5,h=6..6:float32"])


def test_names_that_cannot_be_written_are_replaced() -> None:
    model = model_of(("x", ["batch size", "2*h", None, "float32"], ir.DataType.FLOAT), ("b", [None], ir.DataType.BOOL))
    inputs = resolve_inputs(model, (), lambda specs, sizes: True)
    assert inputs.open_dims == ("batch_size", "n_2_h", "x_dim2", "n_float32", "b_dim0")
    assert parse_inputs([str(spec) for spec in inputs.specs]) == inputs.specs
    assert shape_of(model.graph.inputs[0]) == ["batch_size", "n_2_h", "x_dim2", "n_float32"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y:1", "has no input 'y'"),
        ("x:1,3", "has rank 3 in the file"),
        ("x:n=1..2,4,h=1..2", "axis 1 is 3 in the file"),
        ("x:n=1..2,c=1..3,h=1..2", "axis 1 is 3 in the file"),
        ("x:n=1..2,3,h=1..2:float16", "is float32 in the file"),
        ("x:a=1..2,3,b=1..2", "the file's size 'N' of another axis"),
    ],
)
def test_a_spec_that_contradicts_the_file_is_refused(text: str, message: str) -> None:
    symbol = "N" if "a=1" in text else "h"
    model = model_of(("x", ["N", 3, symbol], ir.DataType.FLOAT))
    with pytest.raises(InputSpecError, match=message):
        resolve_inputs(model, parse_inputs([text]), never)


def test_an_input_without_a_rank_needs_a_spec() -> None:
    with pytest.raises(InputSpecError, match="does not tell the rank"):
        resolve_inputs(model_of(("x", None, ir.DataType.FLOAT)), (), never)
    model = model_of(("x", None, ir.DataType.FLOAT))
    resolve_inputs(model, parse_inputs(["x:2,n=1..3"]), never)
    assert shape_of(model.graph.inputs[0]) == [2, "n"]


def test_an_input_that_cannot_be_fed_is_named() -> None:
    with pytest.raises(SourceError, match="cannot feed"):
        resolve_inputs(model_of(("x", [1], ir.DataType.STRING)), (), never)


def test_sizes_that_were_only_validated_are_no_ranges() -> None:
    model = model_of(("x", ["batch", "h"], ir.DataType.FLOAT))
    given = parse_inputs(["x:batch=1..2..3,h=8..8..16/8:float32"])
    inputs = resolve_inputs(model, given, never, open_dims=("h",))
    assert inputs.specs == given
    assert inputs.declared == {"batch": Dim("batch", 1, 2, 3)}
    assert inputs.open_dims == ("h",)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("x:n=1..4,w=8..16", ["((w + 1)//2)", "2*n*w", None]),
        ("x:n=1..4,9", [5, "18*n", None]),
        ("x:N=1..4,s1=8..16", ["((s1 + 1)//2)", "2*N*s1", "n + 1"]),
        ("x:k=1..4,9", [5, "18*k", "b + 1"]),
    ],
)
def test_the_users_names_replace_the_files_within_sizes(spec: str, expected: Shape) -> None:
    model = model_of(("x", ["N", "s1"], ir.DataType.FLOAT), middle=["((s1 + 1)//2)", "2*N*s1", "n + 1"])
    resolve_inputs(model, parse_inputs([spec]), never)
    found = shape_of(model.graph.outputs[0])
    assert found[:2] == [size if isinstance(size, int) or "s1" in size else str(parse(size)) for size in expected[:2]]
    assert found[2] == (None if expected[2] is None else "n + 1")
