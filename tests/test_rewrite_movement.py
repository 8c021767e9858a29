"""Composing movement: what is rewritten and how, what is refused and why, equal bits, and nothing on a second run."""

from __future__ import annotations

import numpy as np
from rewriting import check, ints, op_types
from small_models import make


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
