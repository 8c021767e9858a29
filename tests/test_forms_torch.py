"""Every form of data movement from torch: no scatter is left, the meaning is kept, and what must stay says why."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from forms import FORMS, Form, refused
from forms.batch import exported, meant
from forms.form import forms_of
from forms.node_counts import TORCH
from rewriting import assert_same_bits, check, rewritten, session

from s2deploy.errors import ExportError
from s2deploy.exporter import capture, to_onnx
from s2deploy.feeds import random_feed

NOT_EXPORTED = {"diagonal_view"}
REMOVED = [form for form in FORMS if form.refusal("torch static") is None]
TYPED = [form.as_type(dtype) for form in REMOVED for dtype in form.dtypes]
REFUSED = [form for form in forms_of(refused) if form.name not in NOT_EXPORTED]


@pytest.fixture(scope="module")
def models() -> Mapping[str, onnx.ModelProto]:
    return exported([*REMOVED, *TYPED, *REFUSED], dynamic=False)


@pytest.mark.parametrize("form", [*REMOVED, *TYPED], ids=lambda form: form.name)
def test_no_scatter_is_left(form: Form, models: Mapping[str, onnx.ModelProto]) -> None:
    """And the model keeps its interface, its bits and, rewritten again, its nodes; see `check`."""
    result, report = check(models[form.name])
    assert report.scatters_after == 0
    assert report.nodes_after <= TORCH[form.name.removesuffix(f"_{form.specs(dynamic=False)[0].dtype}")]
    feed = random_feed(form.specs(dynamic=False), {})
    inputs = [value.name for value in result.graph.input]
    outputs = session(result).run(None, dict(zip(inputs, feed.values(), strict=True)))
    for expected, actual in zip(meant(form, feed), outputs, strict=True):
        assert expected.dtype == actual.dtype
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", REFUSED, ids=lambda form: form.name)
def test_what_stays_says_why(form: Form, models: Mapping[str, onnx.ModelProto]) -> None:
    model = models[form.name]
    result, report = rewritten(model)
    feed = dict(
        zip((v.name for v in model.graph.input), random_feed(form.specs(dynamic=False), {}).values(), strict=True)
    )
    assert_same_bits(session(model).run(None, feed), session(result).run(None, feed))
    assert report.scatters_after > 0
    assert all(re.search(form.refused[""], refusal.reason) for refusal in report.refusals)


def test_a_write_along_a_diagonal_is_refused_by_name() -> None:
    (form,) = (form for form in FORMS if form.name in NOT_EXPORTED)
    specs = form.specs(dynamic=False)
    with pytest.raises(ExportError, match=form.refused[""]):
        to_onnx(capture(form.module(), specs).program, specs)


def test_every_form_has_a_count() -> None:
    assert set(TORCH) == {form.name for form in REMOVED}
