"""Einsum becomes movement, sums and products: the same values, and what they are made of."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from rewriting import check, op_types, rewritten
from small_models import make

from s2deploy.specs import Dim

N = {"N": Dim("N", 1, 4, 64), "M": Dim("M", 1, 5, 64)}
SIZES = [{"N": 1, "M": 1}, {"N": 4, "M": 5}, {"N": 7, "M": 3}]
DYNAMIC = {"n": "N", "m": "M"}


def einsum(
    equation: str, *shapes: str, weights: tuple[int, ...] = (), dtype: int = TensorProto.FLOAT, opset: int = 18
) -> onnx.ModelProto:
    """Returns a model of one Einsum; shapes are written as "n,3", and those numbered by `weights` are constants."""
    sizes = [[DYNAMIC.get(size) or int(size) for size in shape.split(",") if size] for shape in shapes]
    inputs = [helper.make_tensor_value_info(f"x{k}", dtype, size) for k, size in enumerate(sizes) if k not in weights]
    values = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(values.uniform(-3, 3, sizes[k]).astype(helper.tensor_dtype_to_np_dtype(dtype)), f"x{k}")
        for k in weights
    ]
    node = helper.make_node("Einsum", [f"x{k}" for k in range(len(shapes))], ["y"], equation=equation)
    output = helper.make_tensor_value_info("y", dtype, None)
    graph = helper.make_graph([node], "einsum", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


MOVES = {
    "nhwpqc->nchpwq": ("n,3,m,2,2,5",),
    "bhwc->bchw": ("2,3,4,5",),
    "ba": ("n,3",),
    " b a -> a b ": ("3,m",),
    "...ij->...ji": ("n,2,m,3",),
    "i->i": ("n",),
}


@pytest.mark.parametrize("equation", MOVES)
def test_permutations_are_movement(equation: str) -> None:
    result, report = check(einsum(equation, *MOVES[equation]), *SIZES, ranges=N)
    assert op_types(result).keys() <= {"Transpose", "Identity"}
    assert "contract" not in {done.name for done in report.rewrites}


SUMS = {
    "bchw->bc": (("n,3,m,4",), {"ReduceSum": 1}),
    "bchw->cb": (("n,3,m,4",), {"ReduceSum": 1, "Transpose": 1}),
    "ij->": (("n,3",), {"ReduceSum": 1}),
    "...c->...": (("n,m,3",), {"ReduceSum": 1}),
    "bchw,c->bchw": (("n,3,m,4", "3"), {"Mul": 1}),
    "i,j->ij": (("n", "m"), {"Mul": 1}),
    "bhw,bc->bchw": (("n,m,4", "n,3"), {"Mul": 1}),
    "bhwc,bhw->bchw": (("n,m,4,3", "n,m,4"), {"Mul": 1, "Transpose": 1}),
    "ij,jk": (("n,3", "3,m"), {"MatMul": 1}),
    "bhid,bhjd->bhij": (("n,2,m,3", "n,2,4,3"), {"MatMul": 1, "Transpose": 1}),
    "bhij,bhjd->bhid": (("n,2,m,4", "n,2,4,3"), {"MatMul": 1}),
    "bchw,oc->bohw": (("n,3,4,5", "6,3"), {}),  # a MatMul or a Conv
    "bixy,ioxy->boxy": (("n,3,4,5", "3,6,4,5"), {"MatMul": 1}),
    "btnh,nhd->btd": (("n,m,2,3", "2,3,5"), {"MatMul": 1}),
    "btd,dnh->btnh": (("n,m,5", "5,2,3"), {"MatMul": 1}),
    "nkctv,kvw->nctw": (("n,3,4,m,5", "3,5,5"), {"MatMul": 1}),
    "...d,ed->...e": (("n,m,3", "4,3"), {"MatMul": 1}),
    "b...d,b...d->b...": (("n,4,2,3", "n,4,2,3"), {"MatMul": 1}),
    "i,i->": (("n", "n"), {"MatMul": 1}),
    "ij,kj->i": (("n,3", "m,3"), {"MatMul": 1, "ReduceSum": 1}),
    "bij,bjk->bik": (("n,3,4", "1,4,5"), {"MatMul": 1}),
    "ij,jk->ki": (("n,4", "1,m"), {"MatMul": 0}),
}


@pytest.mark.parametrize("weights", [(), (1,)])
@pytest.mark.parametrize("equation", SUMS)
def test_sums_and_products_are_reductions_and_matrix_products(equation: str, weights: tuple[int, ...]) -> None:
    shapes, expected = SUMS[equation]
    weights = weights if len(shapes) > 1 and not {"n", "m"} & set(shapes[1].split(",")) else ()
    result, report = check(einsum(equation, *shapes, weights=weights), *SIZES, ranges=N)
    found = op_types(result)
    assert "Einsum" not in found
    assert {name: found[name] for name in expected if name != "Transpose"} == {
        name: count for name, count in expected.items() if name != "Transpose"
    }
    assert found["Shape"] == 0
    assert [done.before for done in report.rewrites if "Einsum" in done.before]


def test_constants_are_put_in_order_once() -> None:
    result, _ = check(einsum("bixy,ioxy->boxy", "n,3,4,5", "3,6,4,5", weights=(1,)), *SIZES, ranges=N)
    assert op_types(result) == {"Transpose": 2, "MatMul": 1}


def test_parts_of_constants_are_put_in_order_too() -> None:
    model = einsum("bixy,ioxy->boxy", "n,3,4,5", "3,6,4,5")
    pair = numpy_helper.from_array(np.random.default_rng(0).standard_normal((3, 6, 4, 5, 2)).astype(np.float32), "pair")
    del model.graph.input[1]
    model.graph.initializer.extend([pair, numpy_helper.from_array(np.array(-1), "imaginary")])
    model.graph.node.insert(0, helper.make_node("Gather", ["pair", "imaginary"], ["x1"], axis=-1))
    result, _ = check(model, *SIZES, ranges=N)
    assert op_types(result) == {"Transpose": 2, "MatMul": 1}
    assert sum(np.prod(one.dims) for one in result.graph.initializer) == 3 * 6 * 4 * 5


@pytest.mark.parametrize("dtype", [TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64])
def test_types_that_onnxruntime_multiplies(dtype: int) -> None:
    result, _ = check(einsum("bij,bjk->bki", "n,3,4", "n,4,m", dtype=dtype), *SIZES, ranges=N)
    assert op_types(result)["MatMul"] == 1


def test_types_that_onnxruntime_does_not_multiply_are_moved_alone() -> None:
    moved, _ = rewritten(einsum("ij->ji", "n,3", dtype=TensorProto.BFLOAT16), N)
    assert op_types(moved) == {"Transpose": 1}
    stays, report = rewritten(einsum("ij,jk->ik", "n,3", "3,4", dtype=TensorProto.BFLOAT16), N)
    assert op_types(stays) == {"Einsum": 1}
    assert "elements of type BFLOAT16" in report.refusals[0].reason


@pytest.mark.parametrize("opset", [12, 13, 17, 21])
@pytest.mark.parametrize("equation", ["bchw->bc", "bhw,bc->bchw", "bixy,ioxy->boxy"])
def test_every_opset_has_its_form(equation: str, opset: int) -> None:
    result, _ = check(einsum(equation, *SUMS[equation][0], opset=opset), *SIZES, ranges=N)
    assert "Einsum" not in op_types(result)


STAY = {
    "ii->i": (("3,3",), "a letter names two axes of one tensor"),
    "ij,jk,kl->il": (("n,3", "3,4", "4,m"), "3 tensors"),
    "abij,acjd->abcid": (("n,m,3,4", "n,m,4,5"), "it would take arithmetic on sizes"),
    "abij,abjk->ikab": (("n,m,3,4", "n,m,4,5"), None),
    "anmd,anmd->a": (("2,n,m,3", "2,n,m,3"), None),
}


@pytest.mark.parametrize("equation", STAY)
def test_stays_with_a_reason_or_is_right(equation: str) -> None:
    shapes, reason = STAY[equation]
    result, report = check(einsum(equation, *shapes), *SIZES, ranges=N)
    assert ("Einsum" in op_types(result)) == (reason is not None)
    if reason is not None:
        assert [refusal.reason for refusal in report.refusals] == [f"an Einsum stays: {reason}"]


WEIGHTS = {"w": np.random.default_rng(1).standard_normal((3, 3)).astype(np.float32), "zero": np.array([0])}
BRANCHES = """y = If (c) <
    then_branch = a () => (float[N,M,3] u) { u = Einsum<equation = "btd,de->bte">(x, w) },
    else_branch = b () => (float[N,M,3] v) { t = Einsum<equation = "ab->ba">(w) v = Einsum<equation = "...d,de">(x, t) }
>"""
LOOP = """true = Constant<value_int = 1>() on = Cast<to = 9>(true) n = Constant<value_int = 4>()
y = Loop (n, on, x) <body = b (int64 i, bool go, float[4,3] a) => (bool still, float[4,3] c) {
    still = Identity(go) row = Gather(a, i) new = Einsum<equation = "d,de->e">(row, w)
    at = Unsqueeze(i, zero) places = Unsqueeze(at, zero) rows = Unsqueeze(new, zero) c = ScatterND(a, places, rows)
}>"""


def test_branches_have_their_own() -> None:
    model = make("(float[N,M,3] x, bool c) => (float[N,M,3] y)", BRANCHES, WEIGHTS)
    result, report = check(model, *SIZES, ranges=N)
    inner = Counter(node.op_type for branch in result.graph.node[-1].attribute for node in branch.g.node)
    assert (inner["MatMul"], inner["Einsum"]) == (2, 0)
    assert not report.refusals


def test_loops_are_written_out_without_them() -> None:
    result, report = check(make("(float[4,3] x) => (float[4,3] y)", LOOP, WEIGHTS))
    assert not {"Einsum", "Loop"} & set(op_types(result))
    assert report.scatters_after == 0


def test_those_that_stay_in_a_body_have_a_reason() -> None:
    body = BRANCHES.replace("...d,de", "btd,de,ef->btf").replace("(x, t)", "(x, t, t)")
    model = make("(float[N,M,3] x, bool c) => (float[N,M,3] y)", body, WEIGHTS)
    _, report = check(model, *SIZES, ranges=N)
    assert [refusal.reason for refusal in report.refusals] == ["an Einsum stays: 3 tensors"]


@pytest.mark.parametrize("equation", ["ij,jk", "ij->ik", "ijk->ij", "i->", "i j - > k", "..., ...i->i...", "...j->j"])
def test_equations_that_do_not_fit_are_left_to_runtimes(equation: str) -> None:
    model = einsum("ij->ji", "3,4")
    model.graph.node[0].attribute[0].s = equation.encode()
    result, report = rewritten(model)
    assert op_types(result) == {"Einsum": 1}
    assert len(report.refusals) == 1


@st.composite
def equations(draw: st.DrawFn) -> tuple[str, tuple[str, ...]]:
    """Returns any equation of one or two tensors, some of whose axes are broadcast, and their shapes."""
    sizes = draw(st.fixed_dictionaries({letter: st.sampled_from(["n", "m", "1", "2", "3"]) for letter in "abcde"}))
    operands = [
        draw(st.permutations(draw(st.lists(st.sampled_from("abcde"), unique=True, min_size=1, max_size=4))))
        for _ in range(draw(st.integers(1, 2)))
    ]
    letters = sorted({letter for operand in operands for letter in operand})
    result = draw(st.permutations([letter for letter in letters if draw(st.booleans())]))
    shapes = [",".join(sizes[letter] if draw(st.integers(0, 5)) else "1" for letter in one) for one in operands]
    return f"{','.join(map(''.join, operands))}->{''.join(result)}", tuple(shapes)


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(equations())
def test_any_equation_gives_what_it_gave(drawn: tuple[str, tuple[str, ...]]) -> None:
    equation, shapes = drawn
    check(einsum(equation, *shapes), *SIZES, ranges=N)
