"""A short slice of the fuzzing, and the defects that fuzzing has found."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, parser
from rewriting import check, feeds, rewritten, session
from small_models import save

import s2deploy
from s2deploy import onnx_file
from s2deploy.errors import ArtifactError
from s2deploy.rewrite import rewrite

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

from fuzzing.seeds import corpus
from fuzzing.worker import Worker, mutant

_MUTANTS = 30


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    found = Worker(list(corpus(small=True).items()))
    yield found
    found.close()


def test_mutants_end_in_equal_outputs_or_an_error_of_ours(worker: Worker) -> None:
    seeds = list(corpus(small=True).items())
    failures, outcomes = [], set()
    for number in range(_MUTANTS):
        verdicts = worker.try_mutant(f"test:{number}")
        outcomes |= {verdict.outcome for verdict in verdicts}
        failures += [
            f"{mutant(seeds, f'test:{number}')[1]}: {verdict.outcome}\n{verdict.detail}"
            for verdict in verdicts
            if verdict.failed
        ]
    assert not failures, "\n".join(failures)
    assert {"original: runs", "rewrite: rewritten, equal", "export: proven"} <= outcomes


def test_mutants_are_the_same_every_time() -> None:
    seeds = list(corpus(small=True).items())
    assert [mutant(seeds, f"0:{i}") for i in range(20)] == [mutant(seeds, f"0:{i}") for i in range(20)]


def test_sizes_left_over_from_before_an_input_was_made_dynamic_are_not_believed() -> None:
    model = _model(
        "(float[2,N,3] x) => (float[2,?,3] y)",
        "one = Constant<value_ints = [1]>() end = Constant<value_ints = [9223372036854775807]>() a = Neg(x) "
        "b = Slice(a, one, end, one) c = Abs(b) s = Shape(c) d = Reshape(c, s) y = Concat<axis = 1>(d, b)",
    )
    for name, rows in (("a", 6), ("b", 5), ("c", 5), ("d", 5)):
        model.graph.value_info.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, rows, 3]))
    check(model, {"N": 4}, {"N": 9})


def test_a_false_size_of_a_constant_is_not_believed() -> None:
    model = _model("(float[4] x) => (float[2] y, int64[1] n)", "y = Gather(x, i) n = Shape(i)")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2, 0]), "i"))
    model.graph.value_info.append(helper.make_tensor_value_info("i", onnx.TensorProto.INT64, [1]))
    result, _ = rewritten(model)
    given = feeds(model, {})
    sizes = session(result).run(["n"], given)[0]
    assert sizes.tolist() == [2]


def test_a_size_written_as_minus_one_is_not_known() -> None:
    model = _model("(float[N,3] x) => (float[N,2] y)", "i = Constant<value_ints = [0, 0]>() y = Gather<axis = 1>(x, i)")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    result, _ = rewritten(model)
    x = np.ones((4, 3), np.float32)
    assert session(result).run(None, {"x": x})[0].shape == (4, 2)


def test_a_size_written_as_minus_one_is_exported_as_dynamic(tmp_path: Path) -> None:
    model = _model("(float[N,3] x) => (float[M,3] y)", "y = Neg(x)")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    result = s2deploy.export(save(model, tmp_path / "m.onnx"), tmp_path / "out.onnx")
    assert result.passed
    assert str(result.inputs[0]).startswith("x:x_dim0=")


def test_a_function_of_another_opset_is_inlined_where_its_operators_are_the_same() -> None:
    model = parser.parse_model(
        """<ir_version: 10, opset_import: ["": 20, "local": 1]> g (float[2] x) => (float[2] y) { y = local.f(x) }
        <domain: "local", opset_import: ["": 18]> f (x) => (y) { y = Neg(x) }"""
    )
    result, _ = rewritten(model)
    assert [node.op_type for node in result.graph.node] == ["Neg"]


def test_a_constant_of_an_unknown_form_stays_a_node() -> None:
    model = _model("(float[3] x) => (float[3] y)", "c = Constant<value_new = 1.0>() y = Add(x, c)")
    graph = ir.from_proto(model)
    rewrite(graph)
    assert [node.op_type for node in graph.graph] == ["Constant", "Add"]


def test_folded_comparisons_are_booleans() -> None:
    check(
        _model(
            "(float[4] x) => (float[4] y)",
            "s = Shape(x) z = Constant<value_int = 0>() o = Constant<value_int = 1>() f = Constant<value_int = 4>() "
            "r = Range(z, f, o) m = GreaterOrEqual(s, r) n = Neg(x) y = Where(m, x, n)",
        )
    )


def test_nodes_out_of_order_are_sorted(tmp_path: Path) -> None:
    model = _model("(float[2] x) => (float[2] y)", "a = Neg(x) y = Abs(a)")
    nodes = [model.graph.node[1], model.graph.node[0]]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    graph = onnx_file.read(save(model, tmp_path / "m.onnx")).graph
    assert [node.op_type for node in graph] == ["Neg", "Abs"]


@pytest.mark.parametrize(
    ("inputs", "words"), [(["y"], "its nodes form a cycle"), (["nowhere"], "reads 'nowhere', which nothing computes")]
)
def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, inputs: list[str], words: str) -> None:
    model = _model("(float[2] x) => (float[2] y)", "a = Neg(x) y = Abs(a)")
    model.graph.node[0].input[:] = inputs
    with pytest.raises(ArtifactError, match=words):
        onnx_file.read(save(model, tmp_path / "m.onnx"))


def test_an_output_of_a_body_that_nothing_computes_is_refused(tmp_path: Path) -> None:
    model = _model(
        "(float[2] x, bool c) => (float[2] y)",
        "y = If(c) <then_branch = t () => (float[2] p) { p = Neg(x) }, "
        "else_branch = e () => (float[2] q) { q = Abs(x) }>",
    )
    branch = next(attribute.g for attribute in model.graph.node[0].attribute if attribute.name == "then_branch")
    branch.output[0].name = "missing"
    with pytest.raises(ArtifactError, match="nothing computes 'missing'"):
        onnx_file.read(save(model, tmp_path / "m.onnx"))


@pytest.mark.parametrize("number", [0, 99])
def test_a_weight_without_an_element_type_is_refused(tmp_path: Path, number: int) -> None:
    model = _model("(float[2] x) => (float[2] y)", "c = Constant<value = float[2] {1.0, 2.0}>() y = Add(x, c)")
    model.graph.node[0].attribute[0].t.data_type = number
    with pytest.raises(ArtifactError, match="no element type"):
        onnx_file.read(save(model, tmp_path / "m.onnx"))


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = save(_model("(float[2] x) => (float[2] y)", "y = Neg(x)", name="strange"), tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes().replace(b"strange", b"str\xffnge"))
    with pytest.raises(ArtifactError, match="no UTF-8 text"):
        onnx_file.read(path)


def _model(signature: str, body: str, *, name: str = "g") -> onnx.ModelProto:
    return parser.parse_model(f'<ir_version: 10, opset_import: ["": 20]> {name} {signature} {{ {body} }}')
