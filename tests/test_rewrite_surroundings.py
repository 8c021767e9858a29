"""What lies around the movement: subgraphs, functions, foreign operators, defaults, old files; all stays right."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper, parser
from rewriting import assert_same_bits, check, feeds, ints, op_types, rewritten, session
from small_models import make

from s2deploy.rewrite import count_scatters, rewrite

SHIFT = "s = Slice(x, zero, three) a = ScatterND(x, rows, s)"
CONSTANTS = {"zero": ints(0), "three": ints(3), "rows": np.array([[1], [2], [3]])}
HEAD = '<ir_version: 8, opset_import: ["": 18]> g'
LITERALS = "<int64[1] zero = {0}, int64[1] three = {3}, int64[3,1] rows = {1, 2, 3}>"


def shifted(outputs: str, rest: str, inputs: str = "", opset: int = 18) -> onnx.ModelProto:
    """Returns a model that shifts the rows of x down by one into a, and whatever else is given."""
    return make(f"(float[4,3] x{inputs}) => ({outputs})", f"{SHIFT} {rest}", CONSTANTS, opset)


def test_branches_read_outer_values() -> None:
    model = parser.parse_model(f"""{HEAD} (float[4,3] x, bool c) => (float[4,3] y) {LITERALS} {{ {SHIFT}
        y = If<then_branch = g1 () => (float[4,3] o1) {{ val_0 = Neg(x) val_1 = Abs(val_0) o1 = Add(a, val_1) }},
               else_branch = g2 () => (float[4,3] o2) {{ val_2 = Neg(a) o2 = Identity(val_2) }}>(c) }}""")
    result, _ = check(model)
    assert op_types(result)["ScatterND"] == 0


def test_a_branch_may_give_an_outer_value() -> None:
    model = parser.parse_model(f"""{HEAD} (float[4,3] x, bool c) => (float[4,3] y, float[4,3] b) {LITERALS} {{ {SHIFT}
        b = Relu(a)
        y = If<then_branch = g1 () => (float[4,3] o1) {{ o1 = Identity(b) }},
               else_branch = g2 () => (float[4,3] o2) {{ o2 = Identity(x) }}>(c) }}""")
    check(model)


def test_a_loop_reads_outer_values() -> None:
    model = parser.parse_model(f"""{HEAD} (float[4,3] x) => (float[4,3] y) {LITERALS} {{ {SHIFT}
        n = Constant<value = int64 {{3}}>() t = Constant<value = bool {{1}}>()
        y = Loop<body = b (int64 i, bool k, float[4,3] v) => (bool k2, float[4,3] w)
            {{ k2 = Identity(k) q = Add(v, a) p = Slice(q, zero, three) w = ScatterND(q, rows, p) }}>(n, t, x) }}""")
    result, report = check(model)
    assert op_types(result)["ScatterND"] == 0
    assert report.scatters_before == 2
    assert report.scatters_after == 0


def test_a_scan_reads_outer_values() -> None:
    model = parser.parse_model(f"""{HEAD} (float[4,3] x) => (float[3] y, float[4,3] z) {LITERALS} {{ {SHIFT}
        f = Constant<value_floats = [0.0, 0.0, 0.0]>()
        y, z = Scan<num_scan_inputs = 1, body = b (float[3] v, float[3] row) => (float[3] w, float[3] o)
            {{ w = Add(v, row) r = Identity(row) o = Add(r, w) }}>(f, a) }}""")
    check(model)


def test_local_functions_are_inlined() -> None:
    model = parser.parse_model(f"""<ir_version: 9, opset_import: ["": 18, "my": 1]> g (float[4,3] x) => (float[4,3] y)
        {LITERALS} {{ y = my.shift(x, zero, three, rows) }}
        <domain: "my", opset_import: ["": 18]> shift (v, z, t, r) => (w) {{ s = Slice(v, z, t) w = ScatterND(v, r, s) }}
        """)
    result, _ = check(model)
    assert op_types(result) == {"Pad": 1}


def test_nodes_of_other_domains_stay() -> None:
    model = parser.parse_model(f"""<ir_version: 9, opset_import: ["": 18, "my": 1]> g (float[4,3] x) => (float[4,3] y)
        {LITERALS} {{ {SHIFT} p = my.Noise(a) q = my.Noise(a) y = Add(p, q) }}""")
    graph = ir.from_proto(model)
    report = rewrite(graph)
    assert [node.op_type for node in graph.graph if node.domain == "my"] == ["Noise", "Noise"]
    assert report.scatters_after == 0


@pytest.mark.parametrize("op_type", ["Bernoulli", "RandomUniformLike"])
def test_random_numbers_are_drawn_as_often_as_before(op_type: str) -> None:
    result, _ = rewritten(shifted("float[4,3] y", f"p = {op_type}(a) q = {op_type}(a) y = Sub(p, q)"))
    assert op_types(result)[op_type] == 2


def test_defaults_of_inputs_are_no_constants() -> None:
    model = shifted("float[4,3] a", "", ", int64[3,1] rows")
    result, report = check(model)
    assert [refusal.reason for refusal in report.refusals] == ["the indices are computed at run time"]
    given = {**feeds(model, {}), "rows": np.array([[0], [2], [1]])}
    assert_same_bits(session(model).run(None, given), session(result).run(None, given))


def test_a_default_shape_is_no_shape() -> None:
    body = (
        "a = Reshape(x, t) b = Relu(a) s = Shape(b) n = Gather(s, zero) r = Range(one, n, one)"
        "k = Unsqueeze(r, last) q = Slice(b, front, back) y = ScatterND(b, k, q)"
    )
    weights = {"t": ints(4, 3), "zero": np.int64(0), "one": np.int64(1), "last": ints(1)}
    weights |= {"front": ints(0), "back": ints(-1)}
    model = make("(float[4,3] x, int64[2] t) => (float[?,?] y)", body, weights)
    result, _ = check(model)
    given = {**feeds(model, {}), "t": ints(6, 2)}
    assert_same_bits(session(model).run(None, given), session(result).run(None, given))


def other_version(version: int, rest: str) -> onnx.ModelProto:
    """Returns a model of version 18 with a function by the operators of another version."""
    return parser.parse_model(f"""<ir_version: 9, opset_import: ["": 18, "my": 1]> g (float[4,3] x) => (float[4,3] y)
        {LITERALS} {{ y = my.shift(x, zero, three, rows) }}
        <domain: "my", opset_import: ["": {version}]> shift (x, zero, three, rows) => (y) {{ {SHIFT} {rest} }}""")


def test_functions_by_operators_of_another_version_are_inlined_where_these_are_the_same() -> None:
    result, report = check(other_version(19, "y = Relu(a)"))
    assert op_types(result)["Relu"] == 1
    assert (report.scatters_before, report.scatters_after) == (1, 0)


@pytest.mark.parametrize(("version", "rest"), [(19, "y = Identity(a)"), (17, "y = Relu(a)"), (19, "y = NoSuch(a)")])
def test_functions_by_other_operators_stay_and_their_scatters_are_named(version: int, rest: str) -> None:
    graph = ir.from_proto(other_version(version, rest))  # ScatterND is another one since 18, Identity since 19
    report = rewrite(graph)
    assert (report.scatters_before, report.scatters_after) == (1, 1)
    assert [refusal.op_type for refusal in report.refusals] == ["ScatterND"]
    assert "a function with operators of another version" in report.refusals[0].reason
    assert list(graph.functions)


def test_initializers_of_ir_version_3_are_constants() -> None:
    model = shifted("float[4,3] a", "")
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    result, report = rewritten(model)
    assert report.scatters_after == 0
    assert [value.name for value in result.graph.input] == ["x"]
    given = feeds(model, {})
    assert_same_bits(session(model).run(None, given), session(result).run(None, given))


def test_files_of_ir_version_3() -> None:
    body = (
        "zero = Constant<value = int64[1] {0}>() three = Constant<value = int64[1] {3}>()"
        "rows = Constant<value = int64[3,1] {1, 2, 3}>()" + SHIFT
    )
    model = make("(float[4,3] x) => (float[4,3] a)", body, opset=11)
    model.ir_version = 3
    _, report = check(model)
    assert report.scatters_after == 0


def test_a_sequence_reads_what_is_split() -> None:
    model = shifted("float[4,3] y", "q = SplitToSequence(a) y = ConcatFromSequence<axis = 0>(q)")
    _, report = check(model)
    assert report.scatters_after == 0


def test_weights_are_untouched() -> None:
    weight = np.random.default_rng(0).standard_normal((3, 3)).astype(np.float32)
    model = make("(float[4,3] x) => (float[4,3] y)", f"{SHIFT} y = MatMul(a, w)", {**CONSTANTS, "w": weight})
    result, _ = check(model)
    (kept,) = [tensor for tensor in result.graph.initializer if tensor.name == "w"]
    assert numpy_helper.to_array(kept).tobytes() == weight.tobytes()


def test_movement_of_inputs_alone() -> None:
    model = make("(float[4,3] x) => (float[4,3] y, float[4,3] z)", "y = Identity(x) z = Identity(x)")
    result, _ = check(model)
    assert op_types(result) == {"Identity": 2}


def test_no_nodes_at_all() -> None:
    graph = parser.parse_model(f"{HEAD} (float[4,3] x) => (float[4,3] x) {{ }}")
    model = ir.from_proto(graph)
    assert rewrite(model).nodes_after == 0
    assert count_scatters(model) == 0


@pytest.mark.parametrize(
    "body",
    [
        "a = Cast<to = 6>(big) b = Cast<to = 6>(zero) t = Transpose(x) s = Slice(t, b, a) y = Transpose(s)",
        "a = Cast<to = 8>(float) b = Cast<to = 1>(a) c = Slice(b, zero, one) y = Add(x, c)",
        "a = Cast<to = 17>(float) b = Cast<to = 1>(a) c = Slice(b, zero, one) y = Add(x, c)",
        "a = Add(big, one) b = Cast<to = 1>(a) y = Add(x, b)",
    ],
    ids=["to fewer bits", "to text and back", "to eight bits", "overflow"],
)
def test_casts_at_the_edge(body: str) -> None:
    constants = {
        "big": ints((1 << 63) - 1), "zero": ints(0), "one": ints(1), "float": np.full(2, 1e9, np.float32),
    }  # fmt: skip
    check(make("(float[4,3] x) => (float[?,?] y)", body, constants))


def test_an_assignment_with_a_step_into_nothing() -> None:
    body = "y = ScatterND(x, rows, u)"
    check(make("(float[4,0] x, float[2,0] u) => (float[4,0] y)", body, {"rows": np.array([[0], [2]])}))


@pytest.mark.parametrize(
    "body", ["y = Concat<axis = 0>(x)", "c = Constant<value = 1.0>() y = Add(x, c)", 'y = Cast<to = "float">(x)']
)
def test_a_node_that_breaks_its_specification_is_left_alone(body: str) -> None:
    model = ir.from_proto(parser.parse_model(f"{HEAD} (float x) => (float[?] y) {{ {body} }}"))
    assert rewrite(model).rewrites == []
