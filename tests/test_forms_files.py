"""Every form of data movement from ONNX files of torch's TorchScript exporter, with dynamic dimensions."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
from forms import FORMS, Form, refused
from forms.batch import traced
from forms.form import forms_of
from forms.node_counts import FILES
from rewriting import assert_same_bits, check, feeds, rewritten, session

from s2deploy.feeds import interesting_sizes, random_feed
from s2deploy.rewrite import RewriteReport
from s2deploy.rewrite.rules import SCATTERS
from s2deploy.specs import named_dims

# The exporter ends the process over an empty slice.
CRASHING = {"empty_slices", "causal_mask_row_by_row"}
REMOVED = [form for form in FORMS if form.refusal("torchscript dynamic") is None and form.name not in CRASHING]
VARIED_NAMES = {
    "zeros_like_shifted",
    "clone_swapped",
    "copy_into_slice",
    "add_previous",
    "shift_tokens_right",
    "bool_tensor",
    "concat_volume",
    "yolo_x",
    "shift_vit",
    "interleaved_rows",
}
VARIED = [form for form in REMOVED if form.name in VARIED_NAMES]


@cache
def file_of(form: Form) -> onnx.ModelProto:
    """Returns the exporter's file; skips where it makes none, or one that no runtime loads."""
    try:
        model = traced(form)
        session(model)
    except Exception as error:  # whatever the exporter raises
        pytest.skip(f"torch's TorchScript exporter makes no file that loads: {type(error).__name__}")
    return model


def sizes_of(form: Form, model: onnx.ModelProto) -> list[dict[str, int]]:
    """Returns the smallest, typical, largest and odd sizes, and an empty batch where that makes sense.

    Skips where the exporter has baked sizes into the file, so that it runs at others not at all.
    """
    before = session(model)
    sizes = list(interesting_sizes(form.specs(dynamic=True)).values())
    if not all(runs(before, model, at) for at in sizes):
        pytest.skip("the exporter's file does not run at every size")
    empty = {**sizes[0], "n": 0}
    return [*sizes, empty] if form.empty and runs(before, model, empty) else sizes


def runs(before: onnxruntime.InferenceSession, model: onnx.ModelProto, at: dict[str, int]) -> bool:
    """Whether a file runs at some sizes; the exporter bakes sizes in at times."""
    try:
        before.run(None, feeds(model, at))
    except Exception:  # onnxruntime has no common error of its own
        return False
    return True


@pytest.mark.parametrize("form", REMOVED, ids=lambda form: form.name)
def test_no_scatter_is_left(form: Form) -> None:
    """And the file keeps its interface, its bits at every size and, rewritten again, its nodes; see `check`."""
    model = file_of(form)
    _, report = check(model, *sizes_of(form, model), ranges=named_dims(form.specs(dynamic=True)))
    assert report.scatters_after == 0
    assert report.nodes_after <= FILES[form.name]


def varied(form: Form) -> tuple[onnx.ModelProto, onnx.NodeProto, dict[str, np.ndarray]]:
    """Returns a copy of a form's file, the first scatter in it, and inputs."""
    model = onnx.ModelProto()
    model.CopyFrom(file_of(form))
    scatter = next(node for node in model.graph.node if node.op_type in SCATTERS)
    return model, scatter, random_feed(form.specs(dynamic=True), {})


def same_result(form: Form, model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> RewriteReport:
    """Asserts that the rewritten model computes the same, and returns the report."""
    result, report = rewritten(model, named_dims(form.specs(dynamic=True)))
    assert_same_bits(session(model).run(None, feed), session(result).run(None, feed))
    return report


@pytest.mark.parametrize("form", forms_of(refused), ids=lambda form: form.name)
def test_what_stays_says_why(form: Form) -> None:
    """Or is gone because the exporter found another way to write it, as it does along a diagonal."""
    report = same_result(form, file_of(form), random_feed(form.specs(dynamic=True), {}))
    assert (report.scatters_after == 0) == (report.scatters_before == 0)
    assert bool(report.scatters_after) == any(re.search(form.refused[""], r.reason) for r in report.refusals)


@pytest.mark.parametrize("form", VARIED, ids=lambda form: form.name)
def test_the_same_write_at_run_time_is_refused(form: Form) -> None:
    """The indices of a removable write become an input: the scatter stays, and does what it did."""
    model, scatter, feed = varied(form)
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(scatter.input[1]))
    feed["at"] = session(model).run([scatter.input[1]], feed)[0]
    del model.graph.output[-1]
    sizes = [*(f"at_{axis}" for axis in range(feed["at"].ndim - 1)), feed["at"].shape[-1]]
    model.graph.input.append(onnx.helper.make_tensor_value_info("at", onnx.TensorProto.INT64, sizes))
    scatter.input[1] = "at"
    report = same_result(form, model, feed)
    assert report.scatters_after > 0
    assert any("computed at run time" in refusal.reason for refusal in report.refusals)


@pytest.mark.parametrize("form", VARIED, ids=lambda form: form.name)
def test_the_same_write_that_adds_is_not_taken_for_movement(form: Form) -> None:
    model, scatter, feed = varied(form)
    scatter.attribute.append(onnx.helper.make_attribute("reduction", "add"))
    report = same_result(form, model, feed)
    if report.scatters_after:
        assert any("reduces with add" in refusal.reason for refusal in report.refusals)
