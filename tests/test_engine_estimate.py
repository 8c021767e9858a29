"""Memory of activations, against peaks counted by hand."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import small_models
from small_models import make, weights

from s2deploy.engine import sizing
from s2deploy.engine.estimate import activation_peak
from s2deploy.engine.sizing import sized
from s2deploy.options import PrecisionOptions
from s2deploy.precision import typed
from s2deploy.specs import Precision


def peak(signature: str, body: str, given=None, **shapes):
    found = activation_peak(ir.from_proto(make(signature, body, given)), shapes)
    return found.peak_bytes, found.node, found.unknown


@pytest.mark.parametrize("batch", [0, 1, 2, 7])
def test_two_tensors_of_a_chain_live_at_a_time(batch: int) -> None:
    found = activation_peak(ir.from_proto(small_models.perceptron("batch")), {"x": (batch, 16)})
    assert found.peak_bytes == 2 * 32 * 4 * batch


def test_a_branch_lives_until_it_is_joined() -> None:
    assert peak("(float[4] x) => (float[4] y)", "[a] a = Erf(x) [b] b = Erf(a) [c] c = Erf(b) [y] y = Add(a, c)") == (
        48, "c", 0,
    )  # fmt: skip


def test_outputs_live_until_the_end_and_unread_inputs_die_first() -> None:
    assert peak("(float[4] x, float[9] z) => (float[4] y, float[4] u)", "[y] y = Erf(x) [u] u = Exp(y)") == (
        68, "y", 0,
    )  # fmt: skip


def test_views_take_no_memory_and_keep_what_they_show_alive() -> None:
    body = "[a] a = Erf(x) [v] v = Flatten(a) [b] b = Exp(x) [c] c = Exp(b) [y] y = Add(c, v)"
    assert peak("(float[2,2] x) => (float[2,2] y)", body) == (3 * 16, "b", 0)


def test_weights_and_what_is_made_of_sizes_are_no_activations() -> None:
    body = "[y] y = Add(x, w)"
    assert peak("(float[4] x) => (float[4] y)", body, {"w": weights(4)}) == (32, "y", 0)


@pytest.mark.parametrize(
    ("dtype", "width"), [("bool", 1), ("float16", 2), ("double", 8), ("int8", 1), ("bfloat16", 2), ("uint4", 0.5)]
)
def test_every_type_has_its_width(dtype: str, width: float) -> None:
    assert peak(f"({dtype}[8] x) => ({dtype}[8] y)", "[y] y = Transpose(x)")[0] == 16 * width


def test_text_is_left_out_and_told() -> None:
    assert peak("(string[8] x) => (string[8] y)", "[y] y = Identity(x)")[2] > 0


def test_bodies_count_where_they_run() -> None:
    body = "y = If(c) <then_branch = g () => (float[4] t) { u = Erf(x) t = Exp(u) }, "
    body += "else_branch = h () => (float[4] e) { e = Erf(x) }>"
    assert peak("(float[4] x, bool c) => (float[4] y)", body) == (16 + 1 + 16 + 32, "y", 0)


def test_a_size_that_values_decide_is_left_out_and_told() -> None:
    assert peak("(float[4] x) => (int64[1,N] y)", "[y] y = NonZero(x)") == (16, "", 1)


def test_sizes_computed_from_shapes_are_followed() -> None:
    body = (
        "s = Shape<start=2>(x) h = Squeeze(s) two = Constant<value_int=2>() k = Div(h, two) m = Unsqueeze(k, zero) "
        "c = Concat<axis=0>(m, rest) r = Reshape(x, c) q = Shape(r) t = Gather(q, zero) z = Expand(x, t) y = Erf(r)"
    )
    given = {"zero": np.array([0]), "rest": np.array([-1])}
    model = ir.from_proto(make("(float[1,1,n] x) => (float[a,b] y)", body, given))
    copy = sized(model, {"x": (1, 1, 12)})
    assert list(next(value for value in copy.graph.outputs if value.name == "y").shape) == [6, 2]
    assert not any(isinstance(size, int) for size in model.graph.outputs[0].shape)


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_sixteen_bits_take_half_the_memory(precision: Precision) -> None:
    given = {"w": weights(8, 8), "k": weights(4, 3, 3, 3)}
    body = "[c] c = Conv<pads=[1,1,1,1]>(x, k) [e] e = Erf(c) [y] y = MatMul(e, w)"
    model = ir.from_proto(make("(float[n,3,8,8] x) => (float[n,4,8,8] y)", body, given))
    shapes = {"x": (2, 3, 8, 8)}
    full = activation_peak(model, shapes)
    half = activation_peak(typed(model.clone(), PrecisionOptions(precision)).model, shapes)
    assert (full.peak_bytes, full.unknown) == (2 * 2 * 4 * 64 * 4, 0)
    # the casts at the ends hold both widths of the input or output at a time
    assert (half.peak_bytes, half.unknown) == (2 * 4 * 64 * 2 + 2 * 4 * 64 * 4, 0)


def chain(links: int) -> ir.Model:
    """Returns Reshapes one behind the other, each to sizes computed from the shape of the one before."""
    given = {
        "one": np.array([1]),
        "zero": np.array([0]),
        "two": np.array(2),
        "auto": np.array([-1]),
        "c": np.array([8]),
    }
    body, last = "", "x"
    for link in range(links):
        body += (
            f"s{link} = Shape({last}) g{link} = Gather(s{link}, one) q{link} = Squeeze(g{link}, zero) "
            f"m{link} = Mul(q{link}, two) d{link} = Div(m{link}, two) u{link} = Unsqueeze(d{link}, zero) "
            f"t{link} = Concat<axis=0>(auto, u{link}, c) r{link} = Reshape({last}, t{link}) e{link} = Relu(r{link}) "
        )
        last = f"e{link}"
    return ir.from_proto(make("(float[n,h,8] x) => (float[n,h,8] y)", f"{body} y = Erf({last})", given))


@pytest.mark.parametrize("links", [1, 2, 60])
def test_a_chain_of_computed_sizes_is_followed_in_one_pass(links: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inferred, computed = [], []
    infer, compute = sizing._infer, sizing._computed
    monkeypatch.setattr(sizing, "_infer", lambda model: (inferred.append(model), infer(model)))
    monkeypatch.setattr(sizing, "_computed", lambda *given: (computed.append(given[0]), compute(*given))[1])
    found = activation_peak(chain(links), {"x": (4, 16, 8)})
    assert (found.peak_bytes, found.unknown) == (2 * 4 * 16 * 8 * 4, 0)
    assert (len(inferred), len(computed)) == (2, 7 * links)


def test_sizes_behind_a_body_are_computed_in_the_next_round() -> None:
    body = (
        "s = Shape(x) g = Gather(s, one) q = Squeeze(g, one0) k = Div(q, two) u = Unsqueeze(k, one0) "
        "t = Concat<axis=0>(u, auto) r = Reshape(x, t) "
        "z = If(c) <then_branch = a () => (float[p,r2] v) { v = Erf(r) }, "
        "else_branch = b () => (float[p,r2] w) { w = Exp(r) }> "
        "s2 = Shape(z) g2 = Gather(s2, one0) q2 = Squeeze(g2, one0) k2 = Div(q2, two) u2 = Unsqueeze(k2, one0) "
        "t2 = Concat<axis=0>(u2, auto) y = Reshape(z, t2)"
    )
    given = {"one": np.array([1]), "one0": np.array([0]), "two": np.array(2), "auto": np.array([-1])}
    model = ir.from_proto(make("(float[n,h] x, bool c) => (float[a,b] y)", body, given))
    copy = sized(model, {"x": (2, 8)})
    assert list(copy.graph.outputs[0].shape) == [2, 8]
