"""Composing movement: what is rewritten and how, what is refused and why, equal bits, and nothing on a second run."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from rewriting import check, ints, op_types, rewritten
from small_models import make

from s2deploy.errors import RewriteError
from s2deploy.specs import Dim


def grid(*ranges: range) -> np.ndarray:
    """Returns ScatterND indices of a box."""
    return np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).astype(np.int64)


def scatters(*boxes: tuple[range, range], shape: tuple[int, int] = (6, 6)) -> onnx.ModelProto:
    """Returns a model that writes its further inputs into boxes of the first, one after the other."""
    inputs, body, weights = [f"float[{shape[0]},{shape[1]}] y0"], [], {}
    for k, box in enumerate(boxes):
        inputs.append(f"float[{len(box[0])},{len(box[1])}] u{k}")
        body.append(f"y{k + 1} = ScatterND(y{k}, i{k}, u{k})")
        weights[f"i{k}"] = grid(*box)
    signature = f"({', '.join(inputs)}) => (float[{shape[0]},{shape[1]}] y{len(boxes)})"
    return make(signature, " ".join(body), weights)


def test_an_empty_slice_with_a_step_stays_empty() -> None:
    body = "a = Pad(x, pads) b = Transpose<perm=[1, 0]>(a) y = Slice(b, start, end, axis, two)"
    weights = {"pads": ints(0, 0, 0, 1), "start": ints(-4), "end": ints(-4), "axis": ints(1), "two": ints(2)}
    check(make("(float[4, 3] x) => (float[?, ?] y)", body, weights))


def test_a_negative_step_from_the_end_is_right_at_odd_and_even_sizes() -> None:
    body = "a = Transpose<perm=[1, 0]>(x) b = Slice(a, last, first, axis, back) y = Transpose<perm=[1, 0]>(b)"
    weights = {"last": ints(-1), "first": ints(-(1 << 63)), "axis": ints(1), "back": ints(-2)}
    result, _ = check(make("(float[N, 3] x) => (float[?, 3] y)", body, weights), *({"N": n} for n in range(1, 7)))
    assert op_types(result)["Transpose"] == 0


def test_extreme_slice_bounds_in_one_constant() -> None:
    weights = {"starts": ints(0, -1), "ends": ints((1 << 63) - 1, -(1 << 63)), "axes": ints(0, 1), "steps": ints(1, -1)}
    check(make("(float[4, 3] x) => (float[4, 3] y)", "y = Slice(x, starts, ends, axes, steps)", weights))


def test_nothing_of_a_reversed_tensor() -> None:
    body = "s = Slice(x, zero, two) a = ScatterND(x, i, s) b, c = Split<axis=0>(a, parts) y = Unsqueeze(c, two)"
    weights = {"zero": ints(0), "two": ints(2), "i": np.array([[1], [0]]), "parts": ints(2, 0)}
    check(make("(float[2, 3] x) => (float[?, ?, ?] y)", body, weights))


def test_a_constant_output_stays_one() -> None:
    body = "a = Pad(x, pads, three) b, y = Split<axis=0>(a, parts)"
    weights = {"pads": ints(1, 0, 2, 0), "three": np.float32(3), "parts": ints(3, 2)}
    check(make("(float[2, 3] x) => (float[?, ?] y)", body, weights))


def test_outputs_of_one_value_keep_their_names() -> None:
    body = "a = Gather<axis=1>(x, index) b = Relu(a) y = Identity(b) z = Identity(b) v = Identity(y) w = Identity(x)"
    model = make("(float[2, 4] x) => (float[2, 3] y, float[2, 3] z, float[2, 3] v, float[2, 4] w)", body,
                 {"index": ints(2, 0, 1)})  # fmt: skip
    model.graph.output[1].doc_string = "the second"
    check(model)


def test_output_docs_and_vague_types_are_kept() -> None:
    body = "s = Slice(x, one, end) y = ScatterND(x, rows, s) z = Relu(y)"
    weights = {"one": ints(1), "end": ints(4), "rows": np.array([[0], [1], [2]])}
    model = make("(float[4, 3] x) => (float[?, what] y, float[4, 3] z)", body, weights)
    model.graph.output[0].doc_string = "shifted"
    result, report = check(model)
    assert report.scatters_after == 0
    assert result.graph.output[0].doc_string == "shifted"


def test_a_pinwheel_is_split() -> None:
    model = scatters((range(2), range(4)), (range(4), range(4, 6)), (range(4, 6), range(2, 6)), (range(2, 6), range(2)))
    result, report = check(model)
    assert report.scatters_after == 0
    assert op_types(result) == {"Slice": 5, "Concat": 4}


def test_later_writes_win() -> None:
    _, report = check(scatters((range(5), range(5)), (range(1, 6), range(2, 6)), (range(2, 4), range(6))))
    assert report.scatters_after == 0


def test_what_is_overwritten_is_not_computed() -> None:
    result, _ = check(scatters((range(6), range(3)), (range(6), range(6))))
    assert op_types(result) == {"Identity": 1}


@pytest.mark.parametrize(
    ("rows", "size"),
    [
        ((0, 2, 4), 6),
        ((1, 3, 5), 6),
        ((0, 3), 6),
        ((2, 5), 6),
        ((1, 3), 7),
        ((0, 3, 6), 7),
        ((5, 3, 1), 6),
        ((4, 3), 5),
    ],
)
def test_steps(rows: tuple[int, ...], size: int) -> None:
    body = "y = ScatterND(x, i, u) z = Neg(y)"
    weights = {"i": np.array(rows).reshape(-1, 1)}
    model = make(f"(float[{size},3] x, float[{len(rows)},3] u) => (float[{size},3] z)", body, weights)
    _, report = check(model)
    assert report.scatters_after == 0


def test_two_phases_are_one_join() -> None:
    body = "a = ScatterND(x, even, u) y = ScatterND(a, odd, v)"
    weights = {"even": grid(range(0, 6, 2)), "odd": grid(range(1, 6, 2))}
    model = make("(float[6,2] x, float[3,2] u, float[3,2] v) => (float[6,2] y)", body, weights)
    result, _ = check(model)
    assert op_types(result) == {"Unsqueeze": 2, "Concat": 1, "Reshape": 1}


def test_scatter_elements_on_the_last_axis() -> None:
    body = "u = Slice(x, zero, last, axis) y = ScatterElements<axis=-1>(x, i, u)"
    weights = {"zero": ints(0), "last": ints(-1), "axis": ints(1), "i": np.tile(np.arange(1, 5), (3, 1))}
    result, report = check(make("(float[3,5] x) => (float[3,5] y)", body, weights))
    assert report.scatters_after == 0
    assert op_types(result) == {"Pad": 1}


@pytest.mark.parametrize(("size", "splits"), [(4, True), (5, False), (6, False), (8, False)])
def test_two_rows_are_a_step_where_it_takes_no_more(size: int, splits: bool) -> None:
    weights = {"rows": np.array([[1], [3]])}
    model = make(f"(float[{size},M] x, float[2,M] u) => (float[{size},M] y)", "y = ScatterND(x, rows, u)", weights)
    result, _ = check(model, {"M": 1}, {"M": 3})
    assert ("Reshape" in op_types(result)) == splits
    assert sum(op_types(result).values()) <= 6


@pytest.mark.parametrize("reduction", ["none", "add"])
def test_pairs_of_positions_among_others_are_no_steps(reduction: str) -> None:
    body = f"""sizes = Shape<end = 1>(x) target = Concat<axis = 0>(sizes, three) at = Expand(places, target)
        u = Slice(x, zero, three, one) n = Neg(u) y = ScatterElements<axis = 1, reduction = "{reduction}">(x, at, n)"""
    weights = {"places": np.array([[5, 0, -3]]), "zero": np.array([0]), "one": np.array([1]), "three": np.array([3])}
    model = make("(float[N,6] x) => (float[N,6] y)", body, weights)
    result, report = check(model, {"N": 1}, {"N": 5})
    assert report.scatters_after == 0
    assert op_types(result).keys() <= {"Slice", "Neg", "Add", "Concat"}


def test_intermediate_values_others_read() -> None:
    body = "s = Slice(x, zero, three) a = ScatterND(x, i, s) r = Relu(a) t = Slice(a, one, four) y = ScatterND(a, j, t)"
    weights = {"zero": ints(0), "one": ints(1), "three": ints(3), "four": ints(4)}
    weights |= {"i": grid(range(1, 4)), "j": grid(range(3))}
    model = make("(float[4,3] x) => (float[4,3] y, float[4,3] r, float[4,3] a)", body, weights)
    result, report = check(model)
    assert report.scatters_after == 0
    assert [rewrite.name for rewrite in report.rewrites][:2] == ["a", "y"]
    assert op_types(result)["Relu"] == 1


def test_a_rewrite_names_what_it_replaced() -> None:
    _, report = check(scatters((range(1, 6), range(6))))
    (rewrite,) = report.rewrites
    assert rewrite.name == "y1"
    assert rewrite.before == {"ScatterND": 1}
    assert rewrite.after == {"Slice": 1, "Concat": 1}
    assert (report.nodes_before, report.nodes_after) == (1, 2)


STAYING = {
    "the indices are computed at run time": ("(float[4,3] x, int64[1,1] i, float[1,3] u)", "", ints(0)),
    "it reduces with max": ("(float[4,3] x, float[1,3] u)", '<reduction="max">', np.array([[1]])),
    "it reduces with min": ("(float[4,3] x, float[1,3] u)", '<reduction="min">', np.array([[1]])),
    "the indices name positions twice": ("(float[4,3] x, float[2,3] u)", "", np.array([[1], [1]])),
    "twice or along a diagonal": ("(float[4,3] x, float[3] u)", "", np.array([[0, 0], [1, 1], [0, 0]])),
}


@pytest.mark.parametrize("reason", STAYING)
def test_scatters_that_must_stay(reason: str) -> None:
    inputs, attribute, index = STAYING[reason]
    weights = {"i": index} if "int64" not in inputs else {}
    model = make(f"{inputs} => (float[4,3] y)", f"y = ScatterND{attribute}(x, i, u)", weights)
    if "int64" in inputs:
        # Random indices would lie outside: the sum of a comparison with itself is 0.
        model = make(f"{inputs} => (float[4,3] y)", "z = Sub(i, i) r = ReduceSum(z) k = Reshape(r, one) "
                     "y = ScatterND(x, k, u)", {"one": ints(1, 1)})  # fmt: skip
    result, report = check(model)
    assert op_types(result)["ScatterND"] == 1
    assert reason in report.refusals[0].reason
    assert report.refusals[0].op_type == "ScatterND"
    assert report.scatters_after == 1


@pytest.mark.parametrize("opset", [11, 13, 18, 20])
def test_every_opset(opset: int) -> None:
    weights = {"i": grid(range(1, 4)), "zero": ints(0), "three": ints(3)}
    body = "s = Slice(x, zero, three) y = ScatterND(x, i, s)"
    _, report = check(make("(float[4,3] x) => (float[4,3] y)", body, weights, opset))
    assert report.scatters_after == 0


def test_an_older_opset_is_refused() -> None:
    with pytest.raises(RewriteError, match="opset 9; rewriting starts at 11"):
        check(make("(float[4,3] x) => (float[4,3] y)", "y = Relu(x)", opset=9))


def test_a_mask_that_looks_like_a_ramp_is_a_mask() -> None:
    model = make(
        "(float[2,3] x, float[2,3] y) => (float[2,3] z)",
        "a = Concat<axis = 0>(x, y) b = Slice(a, zero, two) c = Where(mask, b, x) z = Add(c, y)",
        {"mask": np.array([[True], [False]]), "zero": ints(0), "two": ints(2)},
    )
    result, _ = check(model)
    assert op_types(result) == {"Add": 1}  # both branches are x


def test_indices_from_both_ends_are_slices() -> None:
    model = make("(float[2,5] x) => (float[2,2] z)", "a = Gather<axis = 1>(x, i) z = Relu(a)", {"i": np.array([3, -1])})
    check(model)


@pytest.mark.parametrize(
    "movement",
    [
        "a = Pad(x, nothing)",
        "a = Slice(x, zero, far)",
        "a = Expand(x, one)",
        "a = Reshape(x, same)",
        "a = Transpose<perm = [0, 1]>(x)",
        "a = Concat<axis = 0>(x)",
    ],
)
def test_movement_that_moves_nothing_goes(movement: str) -> None:
    constants = {
        "nothing": np.zeros(4, np.int64),
        "zero": ints(0),
        "far": ints(1 << 62),
        "one": ints(1),
        "same": ints(0, 3),
    }
    model = make("(float[N,3] x) => (float[N,3] y, float[N,3] z)", f"{movement} y = Neg(a) z = Abs(a)", constants)
    result, _ = check(model, {"N": 1}, {"N": 5})
    assert op_types(result) == {"Neg": 1, "Abs": 1}


WITHOUT_PAD = [("int16", 20), ("uint16", 20), ("bool", 12), ("bfloat16", 20), ("string", 20)]


@pytest.mark.parametrize(("kind", "opset"), [*WITHOUT_PAD, ("bool", 13), ("int8", 11), ("float16", 11)])
@pytest.mark.parametrize("end", [6, 9])
def test_a_border_of_zeros_is_joined_where_the_type_has_no_pad(kind: str, opset: int, end: int) -> None:
    element = getattr(onnx.TensorProto, kind.upper())
    zeros = onnx.helper.make_tensor("zeros", element, [9, 7], ([b""] if kind == "string" else [0]) * 63)
    model = make(f"({kind}[{end - 1},3] u) => ({kind}[9,7] y)", "y = Identity(u)", opset=opset)
    model.graph.initializer.append(zeros)
    model.graph.initializer.append(onnx.numpy_helper.from_array(grid(range(1, end), range(2, 5)), "cells"))
    model.graph.node[0].CopyFrom(onnx.helper.make_node("ScatterND", ["zeros", "cells", "u"], ["y"]))
    result, report = (rewritten if kind == "bfloat16" else check)(model)
    assert report.scatters_after == 0
    if kind != "string":  # text is never one number everywhere
        assert bool(op_types(result)["Pad"]) is ((kind, opset) not in WITHOUT_PAD)


def test_a_scatter_says_which_range_its_indices_wait_for() -> None:
    body = (
        "n = Shape(x) m = Squeeze(n) r = Range(zero, m, one) s = Slice(r, two, far) k = Unsqueeze(s, axis) "
        "t = Slice(x, two, far) u = Neg(t) y = ScatterND(x, k, u)"
    )
    weights = {"zero": np.array(0), "one": np.array(1), "two": ints(2), "far": ints(1 << 40), "axis": ints(1)}
    model = make("(float[N] x) => (float[N] y)", body, weights)
    _, report = check(model, {"N": 1}, {"N": 2}, {"N": 5})
    (scatter,) = (refusal for refusal in report.refusals if refusal.op_type == "ScatterND")
    assert scatter.node == "y"
    assert scatter.reason.endswith("by Slice s: whether 2 <= N depends on N; declare a range of 2 or more")
    assert check(model, {"N": 2}, {"N": 5}, ranges={"N": Dim("N", 2, 2, 5)})[1].scatters_after == 0


RANGES = {"0. size 1.": True, "size 0. -1.": True, "0.5 size 1.": False, "0. product 1.": False}


@pytest.mark.parametrize("numbers", RANGES)
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE])
def test_the_length_of_a_range_of_floats_is_a_size(numbers: str, kind: int) -> None:
    given = " ".join(
        f"n{k} = Identity({number})"
        if number.isalpha()
        else f"c{k} = Constant<value_float = {number}>() n{k} = Cast<to = {kind}>(c{k})"
        for k, number in enumerate(numbers.split())
    )
    body = f"""sizes = Shape(x) at = Constant<value_int = 1>() whole = Gather(sizes, at) size = Cast<to = {kind}>(whole)
        ones = Constant<value_float = 1.>() one = Cast<to = {kind}>(ones) product = Mul(size, one)
        {given} r = Range(n0, n1, n2) f = Cast<to = 1>(r) p = Mul(x, f) wide = Expand(p, sizes) y = Relu(wide)"""
    result, _ = check(make("(float[N,T] x) => (float[N,T] y)", body), {"N": 2, "T": 5}, {"N": 1, "T": 1})
    assert op_types(result)["Expand"] == (0 if RANGES[numbers] else 1)


@pytest.mark.parametrize("name", ["N", "unk__12"])
def test_sizes_of_inputs_may_have_names_that_inference_makes_up(name: str) -> None:
    body = "r = Relu(x) m = MatMul(r, w) u = Slice(m, zero, two) y = ScatterND(x, rows, u)"
    weights = {
        "w": np.eye(4, dtype=np.float32),
        "zero": np.array([0]),
        "two": np.array([2]),
        "rows": np.array([[1], [2]]),
    }
    model = make(f"(float[3,{name},4] x) => (float[3,{name},4] y)", body, weights)
    result, report = check(model, {name: 1}, {name: 5})
    assert (report.scatters_after, report.refusals) == (0, [])
    assert op_types(result) == {"Relu": 1, "MatMul": 1, "Slice": 2, "Concat": 1}
