"""What a precision costs: rounding where the typed graph rounds, overflows by name, and keeping nodes in float32."""

from __future__ import annotations

import errno
import json
import os
import tracemalloc

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from small_models import convolution, make, perceptron, weights

from s2deploy.errors import ArtifactError, UsageError
from s2deploy.options import PrecisionOptions
from s2deploy.precision import Cost, Typed, typed
from s2deploy.precision.emulation import emulated
from s2deploy.precision.probes import run, summaries, values_of
from s2deploy.specs import Precision, parse_inputs

FP16, BF16 = Precision.FP16, Precision.BF16


def of(model: onnx.ModelProto, precision: Precision = FP16, **options: object) -> Typed:
    return typed(ir.from_proto(model), PrecisionOptions(precision, **options))  # type: ignore[arg-type]


def cost_of(model: onnx.ModelProto, precision: Precision = FP16, **options: object) -> Cost:
    cost = of(model, precision, **options).cost
    assert cost is not None
    return cost


def growing(factor: float = 60000.0) -> onnx.ModelProto:
    """Returns a product whose result leaves float16's range and comes back."""
    return make(
        "(float[4,16] x) => (float[4,8] y)",
        "[first] a = MatMul(x, w) [grow] b = Mul(a, big) [shrink] c = Div(b, big) [last] y = MatMul(c, v)",
        {"w": weights(16, 16), "big": np.array(factor, np.float32), "v": weights(16, 8)},
    )


def test_an_overflow_is_reported_by_name_and_keeping_it_in_float32_repairs_it() -> None:
    broken = cost_of(growing())
    assert broken.broken
    assert [overflow.node for overflow in broken.overflows] == ["grow"]
    assert broken.overflows[0].op_type == "Mul"
    assert 65504 < broken.overflows[0].largest < np.inf
    assert broken.repair == ("grow", "shrink")
    assert broken.failures == ("output 'y': 64 elements that are finite in fp32 are not in fp16",)
    assert broken.outputs[0].lost == 64  # of two feeds
    repaired = of(growing(), keep_fp32=broken.repair)
    assert repaired.cost is not None
    assert not repaired.cost.broken
    assert repaired.cost.overflows == repaired.cost.repair == repaired.kept == ()
    assert repaired.cost.outputs[0].cosine > 0.99999
    kinds = {node.name: node.inputs[0].dtype for node in repaired.model.graph}
    assert (kinds["first"], kinds["last"]) == (ir.DataType.FLOAT16, ir.DataType.FLOAT16)
    assert kinds["grow"] == kinds["shrink"] == ir.DataType.FLOAT


def test_bf16_has_the_range_of_float32() -> None:
    cost = cost_of(growing(), BF16)
    assert not cost.broken
    assert cost.overflows == ()


def test_a_model_that_fits_into_float16_has_no_overflows() -> None:
    cost = cost_of(growing(factor=2.0))
    assert not cost.broken
    assert cost.overflows == cost.repair == ()
    assert 0 < cost.outputs[0].worst < 0.1


def test_all_nodes_beyond_the_range_are_named_at_once() -> None:
    model = make(
        "(float[4,16] x) => (float[4,16] y)",
        """
        [product] a = MatMul(x, w) [grow] b = Mul(a, big) [turn] t = Transpose<perm=[1, 0]>(b) [sum] s = Add(t, t)
        [back] u = Transpose<perm=[1, 0]>(s) [shrink] y = Div(u, big)
        """,
        {"w": weights(16, 16), "big": np.array(60000, np.float32)},
    )
    cost = cost_of(model)
    assert [overflow.node for overflow in cost.overflows] == ["grow", "turn", "sum", "back"]
    assert cost.repair == ("grow", "turn", "sum", "back", "shrink")
    assert not cost_of(model, keep_fp32=cost.repair).broken


def test_a_sum_that_is_float32_anyway_names_who_reads_it() -> None:
    model = make(
        "(float[1,2000] x) => (float[1,8] y)",
        """
        [root] a = MatMul(x, e) [square] s = Pow(a, two) [sum] t = ReduceSum(s, axes) [scale] u = Div(t, big)
        [last] y = MatMul(u, v)
        """,
        {
            "e": (np.eye(2000) * 100).astype(np.float32),
            "two": np.array(2, np.float32),
            "axes": np.array([1]),
            "big": np.array(1e7, np.float32),
            "v": weights(1, 8),
        },
    )
    cost = cost_of(model)
    assert [overflow.node for overflow in cost.overflows] == ["sum"]
    assert cost.repair == ("scale",)
    assert not cost_of(model, keep_fp32=cost.repair).broken


def test_an_input_beyond_the_range_is_an_overflow_too(tmp_path: object) -> None:
    model = growing(1.0)
    path = tmp_path / "0.npz"  # type: ignore[operator]
    np.savez(path, x=np.full((4, 16), 1e5, np.float32))
    cost = cost_of(model, calibration=path)
    assert cost.calibrated
    assert (cost.overflows[0].node, cost.overflows[0].op_type) == ("x", "input")
    assert "first" in cost.repair


def test_what_overflows_harmlessly_is_named_but_not_broken() -> None:
    model = make(
        "(float[4,16] x) => (float[4,16] y)",
        "[a] a = MatMul(x, w) p = Abs(a) [one] o = Add(p, five) [grow] b = Mul(o, big) [squash] y = Sigmoid(b)",
        {"w": weights(16, 16), "five": np.array(5, np.float32), "big": np.array(60000, np.float32)},
    )
    cost = cost_of(model)
    assert [overflow.node for overflow in cost.overflows] == ["grow"]
    assert not cost.broken


def test_a_mask_that_float32_clips_as_well_is_no_overflow() -> None:
    model = make(
        "(float[4,16] x) => (float[4,16] y)",
        "a = MatMul(x, w) b = Add(a, mask) y = Softmax(b)",
        {"w": weights(16, 16), "mask": np.array([-np.inf, -1e9, *[0] * 14], np.float32)},
    )
    result = of(model)
    assert result.cost is not None
    assert result.cost.overflows == ()
    assert not result.cost.broken
    assert result.remarks == ("clipped to float16's range of +-65504: mask (up to 1e+09)",)


@pytest.mark.parametrize(("precision", "kind"), [(FP16, np.float16), (BF16, ml_dtypes.bfloat16)])
def test_every_result_is_rounded_to_the_type(precision: Precision, kind: type) -> None:
    result = of(make("(float[8] x) => (float[8] y)", "a = Mul(x, x) b = Add(a, x) y = Neg(b)"), precision)
    x = weights(8, seed=3)
    ((outputs, _),) = run(emulated(result.model), [{"x": x}])
    rounded = x.astype(kind).astype(np.float32)
    square = (rounded * rounded).astype(kind).astype(np.float32)
    np.testing.assert_array_equal(outputs["y"], -(square + rounded).astype(kind).astype(np.float32))


@pytest.mark.parametrize("fp16_io", [False, True])
@pytest.mark.parametrize("precision", [FP16, BF16])
@pytest.mark.parametrize("batch", [4, "N"])
def test_the_interface_and_the_batch_do_not_change_the_cost(precision: Precision, fp16_io: bool, batch: object) -> None:
    options = PrecisionOptions(precision, fp16_io=fp16_io)
    result = typed(ir.from_proto(perceptron(batch)), options, parse_inputs([f"x:{'n=1..4' if batch == 'N' else 4},16"]))
    assert result.cost is not None
    assert result.cost.feeds == 2
    wanted = {FP16: ir.DataType.FLOAT16, BF16: ir.DataType.BFLOAT16}[precision] if fp16_io else ir.DataType.FLOAT
    assert {value.dtype for value in (*result.model.graph.inputs, *result.model.graph.outputs)} == {wanted}
    (output,) = result.cost.outputs
    assert (0.99999 if precision is FP16 else 0.9999) < output.cosine < 1
    assert 0 < output.worst < (0.05 if precision is FP16 else 0.4)


def test_weights_are_widened_when_they_are_read_and_not_kept() -> None:
    result = of(make("(float[4,512] x) => (float[4,512] y)", "y = MatMul(x, w)", {"w": weights(512, 512)}))
    tracemalloc.start()
    wide = emulated(result.model)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 512 * 512
    weight = wide.graph.initializers["w"].const_value
    assert (weight.dtype, weight.numpy().dtype) == (ir.DataType.FLOAT, np.float32)


def test_a_full_folder_for_temporary_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ir, "save", full)
    with pytest.raises(ArtifactError, match=r"cannot write temporary files to .*: No space left on device") as caught:
        of(growing())
    assert "TMPDIR" in str(caught.value.hint)


def test_branches_are_rounded_too() -> None:
    model = make(
        "(bool which, float[2,2] x) => (float[2,2] y)",
        """
        y = If(which) <then_branch = t () => (float[2,2] a) { a = MatMul(x, x) },
                       else_branch = e () => (float[2,2] b) { b = MatMul(x, x) }>
        """,
    )
    (output,) = cost_of(model, BF16).outputs
    assert 0 < output.worst < 0.1


def test_integer_outputs_have_no_cosine() -> None:
    model = make("(float[4,16] x) => (int64[4,1] y)", "a = MatMul(x, w) y = ArgMax<axis = 1>(a)", {"w": weights(16, 8)})
    (output,) = cost_of(model).outputs
    assert output.cosine is None


def test_a_dynamic_input_without_a_range_leaves_the_cost_unmeasured() -> None:
    result = of(perceptron("N"))
    assert result.cost is None
    assert result.remarks == ("what fp16 costs was not measured: input 'x' is dynamic and has no range",)


def test_an_output_that_underflows_is_broken() -> None:
    model = make(
        "(float[4,16] x) => (float[4,16] y)",
        "a = MatMul(x, w) b = Mul(a, tiny) y = Mul(b, tiny)",
        {"w": weights(16, 16), "tiny": np.array(1e-5, np.float32)},
    )
    cost = cost_of(model)
    assert cost.overflows == ()
    assert cost.failures == ("output 'y': the cosine similarity with fp32 is 0, below 0.9999",)


def test_one_element_far_off_is_broken_though_the_cosine_is_not() -> None:
    model = make(
        "(float[4,4000] x) => (float[4,4000] y)",
        "a = Add(x, shift) b = Sub(a, shift) y = Add(b, eight)",
        {"shift": np.where(np.arange(4000) == 7, 6000, 0).astype(np.float32), "eight": np.array(8, np.float32)},
    )
    cost = cost_of(model)
    assert cost.outputs[0].cosine > 0.9999
    assert "output 'y': differs from fp32 by" in cost.failures[0]


def test_the_cost_is_json() -> None:
    document = json.loads(json.dumps(cost_of(growing()).to_dict()))
    assert (document["precision"], document["broken"], document["repair"]) == ("fp16", True, ["grow", "shrink"])
    assert document["overflows"][0]["node"] == "grow"


def test_keeping_a_heavy_operator_type_leaves_every_one_of_them_wide() -> None:
    result = of(perceptron(), keep_fp32=("MatMul",))
    assert len(result.kept) == 2
    assert {node.inputs[0].dtype for node in result.model.graph if node.op_type == "MatMul"} == {ir.DataType.FLOAT}
    assert {node.inputs[0].dtype for node in result.model.graph if node.op_type == "Gelu"} == {ir.DataType.FLOAT16}


@pytest.mark.parametrize(
    ("name", "hint"),
    [("matmull", "did you mean 'MatMul'"), ("shrunk", "'shrink'"), ("zzz", "its operator types are Div, MatMul, Mul")],
)
def test_an_unknown_name_to_keep_is_refused_with_near_ones(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"'{name}': the model has neither") as caught:
        of(growing(), keep_fp32=(name,))
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (PrecisionOptions(keep_fp32=("MatMul",)), "--keep-fp32 says what stays"),
        (PrecisionOptions(accept_loss=True), "--accept-loss is about"),
        (PrecisionOptions(fp16_io=True), "--fp16-io makes"),
        (PrecisionOptions(Precision.INT8, fp16_io=True), "--fp16-io makes"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: PrecisionOptions, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        typed(ir.from_proto(perceptron()), options)


def test_fp32_changes_nothing() -> None:
    model = ir.from_proto(perceptron())
    result = typed(model, PrecisionOptions())
    assert result == Typed(model)


def test_a_model_without_heavy_operators_is_typed_and_says_so() -> None:
    result = of(make("(float[4] x) => (float[4] y)", "y = Exp(x)"))
    assert result.remarks == ("the model has no matrix product and no convolution to type",)


def test_summaries_see_what_is_not_finite_and_what_is_empty() -> None:
    model = ir.from_proto(
        make(
            "(float[N,3] x) => (float[N,3] y)",
            "a = Neg(x) b = Mul(a, zero) [empty] c = Slice(a, none, none) y = Add(b, a)",
            {"zero": np.zeros(1, np.float32), "none": np.array([0])},
        )
    )
    rows = np.array([[1, -7, 2]], np.float32)
    seen = summaries(model, ["x", "a", "b", "c"], [{"x": rows}, {"x": np.zeros((2, 3), np.float32)}])
    assert (seen["a"].largest, seen["a"].finite, seen["a"].elements) == (7, True, 6)
    assert (seen["c"].largest, seen["c"].finite, seen["c"].elements) == (0, True, 0)
    assert summaries(model, ["a"], [{"x": np.zeros((0, 3), np.float32)}])["a"].elements == 0
    for bad in (np.nan, np.inf, -np.inf):
        rows[0, 1] = bad
        seen = summaries(model, ["x", "a", "b", "c"], [{"x": rows}, {"x": np.zeros((1, 3), np.float32)}])
        assert [seen[name].finite for name in "xabc"] == [False, False, False, True]


def test_looking_at_values_does_not_change_them() -> None:
    model = ir.from_proto(convolution())
    feed = {"x": weights(1, 3, 8, 8)}
    ((plain, _),) = run(model, [feed])
    ((looked, seen),) = run(model, [feed], ["x", "a", "y"])
    np.testing.assert_array_equal(plain["y"], looked["y"])
    (values,) = values_of(model, ["a", "y"], [feed])
    assert seen["a"].largest == np.abs(values["a"]).max()
    np.testing.assert_array_equal(values["y"], plain["y"])
