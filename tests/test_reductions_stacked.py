"""Reductions over stacks become arithmetic on what is stacked, within the stated tolerance."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from rewriting import assert_close, check, op_types, rewritten, session
from small_models import make, weights

from s2deploy.rewrite import rewrite
from s2deploy.specs import Dim

N = {"N": Dim("N", 0, 4096, 4096)}
SIZES = [{"N": size} for size in (1, 2, 3, 7, 64)]


def stack(count: int, axis: int = 1) -> str:
    """Returns nodes that stack x0, x1 and so on as s, along a new axis."""
    views = " ".join(f"u{k} = Unsqueeze(x{k}, at)" for k in range(count))
    return f"{views} s = Concat<axis = {axis}>({', '.join(f'u{k}' for k in range(count))}) "


def inputs(count: int, shape: str = "N,6,5", dtype: str = "float") -> str:
    return ", ".join(f"{dtype}[{shape}] x{k}" for k in range(count))


AT = {"at": np.array([1]), "one": np.array([1])}
OTHERS = {"at": np.array([1]), "one": np.array([1]), "all": np.array([1, 2, 3])}
SHAPES = {"merged": np.array([0, 3, -1]), "apart": np.array([0, 6, 5]), "last": np.array([2])}
SHAPES |= {"channels": np.array([0, 2, 6, 5]), "pairs": np.array([0, 3, 2, 5])}

BECOME = {
    "a sum": (f"({inputs(2)}) => (float[N,6,5] y)", stack(2) + "y = ReduceSum<keepdims = 0>(s, one)", {"Add": 1}),
    "a sum that keeps the axis": (
        f"({inputs(2)}) => (float[N,1,6,5] y)",
        stack(2) + "y = ReduceSum(s, one)",
        {"Add": 1, "Unsqueeze": 1},
    ),
    "a mean": (
        f"({inputs(3)}) => (float[N,6,5] y)",
        stack(3) + "y = ReduceMean<keepdims = 0>(s, one)",
        {"Sum": 1, "Div": 1},
    ),
    "the largest": (f"({inputs(3)}) => (float[N,6,5] y)", stack(3) + "y = ReduceMax<keepdims = 0>(s, one)", {"Max": 1}),
    "the smallest": (
        f"({inputs(2)}) => (float[N,6,5] y)",
        stack(2) + "y = ReduceMin<keepdims = 0>(s, one)",
        {"Min": 1},
    ),
    "a product": (f"({inputs(2)}) => (float[N,6,5] y)", stack(2) + "y = ReduceProd<keepdims = 0>(s, one)", {"Mul": 1}),
    "a sum over more axes": (
        f"({inputs(2)}) => (float[N] y)",
        stack(2) + "y = ReduceSum<keepdims = 0>(s, all)",
        {"Add": 1, "ReduceSum": 2},
    ),
    "sums in a row": (
        f"({inputs(2)}) => (float[N,6] y)",
        stack(2) + "t = ReduceSum<keepdims = 0>(s, one) y = ReduceSum<keepdims = 0>(t, last)",
        {"Add": 1, "ReduceSum": 2},
    ),
    "a weighted sum": (
        f"({inputs(3)}, float[N,3,1,1] w) => (float[N,6,5] y)",
        stack(3) + "e = Softmax<axis = 1>(w) p = Mul(e, s) y = ReduceSum<keepdims = 0>(p, one)",
        {"Split": 1, "Mul": 3, "Sum": 1, "Squeeze": 1},
    ),
    "functions of stacks": (
        f"({inputs(2)}) => (float[N,6,5] y)",
        stack(2) + "t = Tanh(s) d = Sub(t, half) y = ReduceSum<keepdims = 0>(d, one)",
        {"Tanh": 2, "Sub": 2, "Add": 1},
    ),
    "through reshapes": (
        f"({inputs(3)}, float[N,3,1] w) => (float[N,6,5] y)",
        stack(3) + "v = Reshape(s, merged) p = Mul(v, w) t = ReduceSum<keepdims = 0>(p, one) y = Reshape(t, apart)",
        {"Mul": 3, "Sum": 1, "Reshape": 0, "Split": 1},
    ),
    "through a transpose": (
        f"({inputs(2)}) => (float[6,5,N] y)",
        stack(2) + "t = Transpose<perm = [1, 2, 3, 0]>(s) y = ReduceSum<keepdims = 0>(t, zero)",
        {"Add": 1},
    ),
    "two readers of one stack": (
        f"({inputs(2)}, float[2,1,1] w) => (float[N,6,5] y, float[N,6,5] z)",
        stack(2) + "y = ReduceSum<keepdims = 0>(s, one) p = Mul(s, w) z = ReduceMax<keepdims = 0>(p, one)",
        {"Add": 1, "Mul": 2, "Max": 1},
    ),
    "joined channels taken apart": (
        f"({inputs(2, 'N,6,5')}, float[2,1,1] w) => (float[N,6,5] y)",
        "s = Concat<axis = 1>(x0, x1) v = Reshape(s, channels) p = Mul(v, w) y = ReduceSum<keepdims = 0>(p, one)",
        {"Mul": 2, "Add": 1, "Reshape": 0},
    ),
    "no new axis": (
        "(float[N,2,5] x0, float[N,4,5] x1) => (float[N,5] y)",
        "s = Concat<axis = 1>(x0, x1) y = ReduceSum<keepdims = 0>(s, one)",
        {"ReduceSum": 2, "Add": 1},
    ),
}
MORE = {"half": np.array(0.5, np.float32), "zero": np.array([0])}


def model(name: str) -> onnx.ModelProto:
    signature, body, _ = BECOME[name]
    given = {**OTHERS, **SHAPES, **MORE}
    return make(signature, body, {key: array for key, array in given.items() if f"{key})" in body})


@pytest.mark.parametrize("name", BECOME)
def test_becomes_arithmetic(name: str) -> None:
    result, report = check(model(name), *SIZES, ranges=N)
    assert "Concat" not in op_types(result)
    expected = BECOME[name][2]
    assert {op_type: op_types(result)[op_type] for op_type in expected} == expected
    assert {done.name for done in report.rewrites} >= {value.name for value in result.graph.output}


@pytest.mark.parametrize("name", sorted(BECOME.keys() - {"through reshapes"}))  # onnxruntime refuses 0 x 3 x -1
def test_an_empty_batch_stays_empty(name: str) -> None:
    check(model(name), {"N": 0}, ranges=N)


@pytest.mark.parametrize("dtype", ["float", "double", "int32", "int64"])
@pytest.mark.parametrize("name", ["a sum", "the largest", "sums in a row"])
def test_integers_are_exact_and_doubles_closer(name: str, dtype: str) -> None:
    signature, body, _ = BECOME[name]
    given = {**OTHERS, **SHAPES, **MORE}
    arrays = {key: array for key, array in given.items() if f"{key})" in body}
    result, _ = check(make(signature.replace("float", dtype), body, arrays), *SIZES, ranges=N)
    assert "Concat" not in op_types(result)
    assert op_types(result)["Max"] == (0 if name != "the largest" else 1 if dtype in ("float", "double") else 2)


@pytest.mark.parametrize("opset", [11, 12, 13, 17, 18, 21])
def test_every_opset_has_its_form(opset: int) -> None:
    old = opset < 13
    views = " ".join(f"u{k} = Unsqueeze<axes = [1]>(x{k})" if old else f"u{k} = Unsqueeze(x{k}, one)" for k in (0, 1))
    largest = "ReduceMax<axes = [1, 2]>(p)" if opset < 18 else "ReduceMax(p, two)"
    body = f"{views} s = Concat<axis = 1>(u0, u1) p = Mul(s, w) y = {largest}"
    given = {"one": np.array([1]), "two": np.array([1, 2])}
    signature = f"({inputs(2)}, float[N,2,1,1] w) => (float[N,1,1,5] y)"
    result, _ = check(
        make(signature, body, {k: a for k, a in given.items() if f"{k})" in body}, opset=opset), *SIZES, ranges=N
    )
    assert {op: op_types(result)[op] for op in ("Concat", "Split", "ReduceMax")} == {
        "Concat": 0,
        "Split": 1,
        "ReduceMax": 2,
    }


STAY = {
    "channels taken apart elsewhere": (
        "(float[N,3,5] x0, float[N,3,5] x1) => (float[N,2,5] y)",
        "s = Concat<axis = 1>(x0, x1) v = Reshape(s, pairs) y = ReduceSum<keepdims = 0>(v, one)",
        None,
    ),
    "another reader": (
        f"({inputs(2)}) => (float[N,6,5] y, float[N,2,6,5] z)",
        stack(2) + "y = ReduceSum<keepdims = 0>(s, one) z = Relu(s)",
        "something else reads s, so that the stack stays",
    ),
    "a stack that is an output": (
        f"({inputs(2)}) => (float[N,6,5] y, float[N,2,6,5] s)",
        stack(2) + "y = ReduceSum<keepdims = 0>(s, one)",
        "something else reads s, so that the stack stays",
    ),
    "a large operand": (
        f"({inputs(2)}, float[N,2,6,5] w) => (float[N,6,5] y)",
        stack(2) + "p = Mul(w, s) y = ReduceSum<keepdims = 0>(p, one)",
        "w is large and no stack itself",
    ),
    "stacks cut elsewhere": (
        "(float[N,2,5] x0, float[N,4,5] x1) => (float[N,5] y)",
        "s = Concat<axis = 1>(x0, x1) t = Concat<axis = 1>(x1, x0) p = Mul(s, t) y = ReduceSum<keepdims = 0>(p, one)",
        "its operands are joined at different positions",
    ),
    "a mean of unequal pieces": (
        "(float[N,2,5] x0, float[N,4,5] x1) => (float[N,5] y)",
        "s = Concat<axis = 1>(x0, x1) y = ReduceMean<keepdims = 0>(s, one)",
        "the mean is one of pieces of different sizes",
    ),
    "too many pieces": (
        f"({inputs(17)}) => (float[N,6,5] y)",
        stack(17) + "y = ReduceSum<keepdims = 0>(s, one)",
        "17 tensors are stacked, more than 16",
    ),
}


@pytest.mark.parametrize("name", STAY)
def test_stays(name: str) -> None:
    signature, body, reason = STAY[name]
    given = {**OTHERS, **SHAPES}
    original = make(signature, body, {key: array for key, array in given.items() if f"{key})" in body})
    result, report = check(original, *SIZES[1:3], ranges=N)
    assert "Concat" in op_types(result)
    assert [refusal.reason for refusal in report.refusals] == ([] if reason is None else [reason])


def test_a_small_stack_is_cheaper_than_arithmetic() -> None:
    _, report = rewritten(model("a weighted sum"), {"N": Dim("N", 1, 1, 4096)})
    assert {refusal.reason for refusal in report.refusals} == {
        "the stack is so small that the arithmetic would cost more"
    }


def test_one_stack_stays_for_all_or_goes_for_all() -> None:
    signature, body, _ = BECOME["two readers of one stack"]
    body += " q = Mul(w, w) v = Add(s, q) r = Exp(v)"
    original = make(signature.replace("z)", "z, float[N,2,6,5] r)"), body, {key: OTHERS[key] for key in ("at", "one")})
    result, report = check(original, *SIZES[1:3], ranges=N)
    assert "Concat" in op_types(result)
    assert len(report.refusals) == 2


def test_a_stack_that_a_body_reads_stays() -> None:
    body = stack(2) + (
        "y = ReduceSum<keepdims = 0>(s, one) z = If(c) <then_branch = t () => (float[N,2,6,5] a) { a = Relu(s) }, "
        "else_branch = e () => (float[N,2,6,5] b) { b = Neg(s) }>"
    )
    original = make(f"({inputs(2)}, bool c) => (float[N,6,5] y, float[N,2,6,5] z)", body, AT)
    result, report = check(original, {"N": 2}, ranges=N)
    assert "Concat" in op_types(result)
    assert [refusal.op_type for refusal in report.refusals] == ["ReduceSum"]


def test_sizes_of_shapes_are_none_of_its_business() -> None:
    original = make(
        "(float[N,M] x) => (float[K] y)",
        "h = Shape(x) n = Slice(h, zero, one) m = Slice(h, one, two) s = Concat<axis = 0>(n, m) "
        "p = ReduceProd(s, zero) y = Reshape(x, p)",
        {"zero": np.array([0]), "one": np.array([1]), "two": np.array([2])},
    )
    _, report = rewritten(original)
    assert not report.refusals


@pytest.mark.parametrize("shape", [(2, 1, 1), (2, 6, 1), (2, 6, 5), (1, 2, 6, 5)])
def test_weights_that_are_constants_become_several(shape: tuple[int, ...]) -> None:
    original = make(
        f"({inputs(2)}) => (float[N,6,5] y)",
        stack(2) + "p = Mul(s, w) y = ReduceSum<keepdims = 0>(p, one)",
        {**AT, "w": weights(*shape)},
    )
    result, _ = check(original, *SIZES, ranges=N)
    assert op_types(result) == {"Mul": 2, "Add": 1}


def test_joined_channels_in_pairs() -> None:
    original = make(
        "(float[N,4,5] x0, float[N,2,5] x1) => (float[N,2,5] y)",
        "s = Concat<axis = 1>(x0, x1) v = Reshape(s, pairs) y = ReduceSum<keepdims = 0>(v, one)",
        {"pairs": SHAPES["pairs"], "one": np.array([1])},
    )
    result, _ = check(original, *SIZES, ranges={"N": Dim("N", 1, 4096, 4096)})
    assert op_types(result) == {"Reshape": 1, "ReduceSum": 1, "Add": 1}


def test_weights_without_a_place_for_the_stack_are_gathered() -> None:
    """Weights of N x 6 x 1 for each of the pieces have no axis of size 1 in front of the 6 to be cut along."""
    original = make(
        f"({inputs(2)}, float[N,2,6,1] w) => (float[N,6,5] y)",
        stack(2) + "p = Mul(s, w) y = ReduceSum<keepdims = 0>(p, one)",
        AT,
    )
    result, _ = check(original, *SIZES, ranges=N)
    assert op_types(result) == {"Gather": 2, "Mul": 2, "Add": 1}


@pytest.mark.parametrize(
    ("between", "floored"),
    [
        ("p = Mul(e, s)", 1),
        ("v = Reshape(e, wide) p = Mul(v, s)", 1),
        ("q = Add(e, s) p = Identity(q)", 1),
        ("l = Log(e) p = Mul(l, s)", 0),
    ],
)
def test_weights_that_are_negligible_become_normal_numbers(between: str, floored: int) -> None:
    shape = "N,3,1,1" if "wide" not in between else "N,3"
    original = make(
        f"({inputs(3)}, float[{shape}] w) => (float[N,6,5] y)",
        stack(3) + f"e = Softmax<axis = 1>(w) {between} y = ReduceSum<keepdims = 0>(p, one)",
        {**AT, **({"wide": np.array([0, 3, 1, 1])} if "wide" in between else {})},
    )
    result, _ = check(original, *SIZES, ranges=N)
    assert op_types(result)["Max"] == floored
    rng = np.random.default_rng(0)
    given = {f"x{k}": rng.standard_normal((4, 6, 5)).astype(np.float32) for k in range(3)}
    rank = len(original.graph.input[3].type.tensor_type.shape.dim)
    logits = np.array([90, 0, -10], np.float32).reshape(1, 3, *[1] * (rank - 2))
    given["w"] = np.repeat(logits, 4, axis=0)  # weights of 1, 1e-39 and 1e-43
    assert_close(session(original).run(None, given), session(result).run(None, given))


def test_changes_are_withdrawn_by_stack() -> None:
    from s2deploy.rewrite import Change, Changes

    graph = ir.from_proto(model("two readers of one stack"))
    rewrite(graph, N, changes=Changes(without={Change("unstack", "y")}))
    assert "Concat" in op_types(ir.to_proto(graph))
