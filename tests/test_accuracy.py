from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterable
from functools import partial

import ml_dtypes
import numpy as np
import pytest

from s2deploy.accuracy import Arithmetic, Comparison, LazyFeed, Side, compare, judge, judge_output, lazy_feeds, record
from s2deploy.errors import S2DeployError, ValidationError
from s2deploy.feeds import Feed
from s2deploy.specs import Tolerance, parse_inputs

TIGHT = Tolerance(atol=1e-4, rtol=1e-3)


def judged(reference: object, candidate: object, tolerance: Tolerance = TIGHT):
    return judge_output("y", np.asarray(reference), np.asarray(candidate), tolerance)


def one_feed(**arrays: np.ndarray) -> list[LazyFeed]:
    return [LazyFeed("data", {}, lambda: dict(arrays))]


def compared(
    reference: Side,
    candidate: Side,
    feeds: Iterable[LazyFeed],
    *,
    on_feed: Callable[[str], None] | None = None,
) -> Comparison:
    return compare(record(reference, feeds), candidate, on_feed=on_feed)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_equal_outputs_pass_with_no_difference(dtype: type) -> None:
    array = np.linspace(-3, 3, 24).reshape(2, 3, 4).astype(dtype)
    output = judged(array, array.copy())
    assert output.passed
    assert output.reason is None
    assert (output.worst_absolute, output.worst_relative, output.largest_reference) == (0, 0, 3)


@pytest.mark.parametrize(("factor", "passed"), [(0.99, True), (1.01, False)])
def test_the_bound_is_atol_of_the_largest_plus_rtol_of_each(factor: float, passed: bool) -> None:
    reference = np.array([100.0, 1.0])
    allowed = TIGHT.atol * 100.0 + TIGHT.rtol * 1.0
    output = judged(reference, reference + np.array([0.0, factor * allowed]))
    assert output.passed is passed
    assert output.worst_absolute == pytest.approx(factor * allowed)


def test_a_relative_difference_counts_where_the_absolute_tolerance_does_not_decide() -> None:
    output = judged([100.0, 1.0, 1e-9], [100.0, 1.001, 2e-9])
    assert output.worst_relative == pytest.approx(1e-3)


def test_the_reason_names_the_worst_element() -> None:
    reference = np.ones((3, 4), np.float32)
    candidate = reference.copy()
    candidate[1, 2], candidate[2, 3] = 5, 2
    reason = judged(reference, candidate).reason
    assert reason == "2 of 12 values differ by more than the tolerance, worst at [1, 2]: 1.0 expected, 5.0 found"


def test_the_worst_element_is_found_in_any_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "_CHUNK_ELEMENTS", 5)
    reference = np.arange(1, 24, dtype=np.float32)
    candidate = reference.copy()
    candidate[3], candidate[21] = 4.5, 40
    output = judged(reference, candidate)
    assert output.worst_absolute == 18
    assert output.reason is not None
    assert "2 of 23" in output.reason
    assert "worst at [21]" in output.reason


@pytest.mark.parametrize(
    ("reference", "candidate", "passed"),
    [
        ([np.nan, 1], [np.nan, 1], True),
        ([np.inf, -np.inf, 1], [np.inf, -np.inf, 1], True),
        ([np.nan, 1], [1, 1], False),
        ([1, 1], [np.nan, 1], False),
        ([np.inf, 1], [-np.inf, 1], False),
        ([np.inf, 1], [np.nan, 1], False),
        ([1, 1], [np.inf, 1], False),
        ([np.nan, np.nan], [np.nan, np.nan], True),
    ],
)
def test_nan_and_inf_must_coincide(reference: list[float], candidate: list[float], passed: bool) -> None:
    output = judged(np.array(reference, np.float32), np.array(candidate, np.float32))
    assert output.passed is passed
    assert passed or output.reason == "NaN or Inf do not coincide in 1 of 2 values" or len(reference) == 3
    json.dumps(output.to_dict(), allow_nan=False)


def test_a_difference_that_overflows_fails_without_a_warning() -> None:
    assert not judged(np.array([1e308]), np.array([-1e308])).passed


@pytest.mark.parametrize("shape", [(0, 3), (), (1,)])
def test_empty_and_scalar_outputs(shape: tuple[int, ...]) -> None:
    array = np.ones(shape, np.float32)
    assert judged(array, array).passed
    assert judged(array, array + 1).passed is (array.size == 0)


def test_shapes_must_agree_even_where_they_would_broadcast() -> None:
    output = judged(np.ones((1, 3)), np.ones((3,)))
    assert not output.passed
    assert output.reason == "shape differs: 1x3 expected, 3 found"
    assert output.worst_absolute is None


def test_dtypes_must_agree_and_the_difference_is_still_told() -> None:
    output = judged(np.ones(3, np.float32), np.full(3, 1.5, np.float16))
    assert output.reason == "dtype differs: float32 expected, float16 found"
    assert output.worst_absolute == 0.5


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool])
def test_integers_and_booleans_must_be_equal(dtype: type) -> None:
    reference = np.array([0, 1, 1], dtype)
    assert judged(reference, reference, Tolerance(atol=10, rtol=10)).passed
    output = judged(reference, np.array([0, 1, 0], dtype), Tolerance(atol=10, rtol=10))
    assert not output.passed
    assert (output.tolerance.atol, output.worst_absolute) == (0, 1)


def test_large_integers_that_are_equal_in_float64_differ() -> None:
    output = judged(np.array([5, 2**53]), np.array([5, 2**53 + 1]))
    assert not output.passed
    assert output.reason is not None
    assert "worst at [1]" in output.reason


def test_strings_are_compared_for_equality() -> None:
    assert judged(np.array(["a", "b"], object), np.array(["a", "b"], object)).passed
    assert not judged(np.array(["a", "b"], object), np.array(["a", "c"], object)).passed


def test_feeds_are_compared_at_every_interesting_size() -> None:
    specs = parse_inputs(["x:batch=1..4..9,6"])
    seen: list[str] = []
    comparison = compared(
        lambda feed: {"y": feed["x"] * 2}, lambda feed: {"y": feed["x"] + feed["x"]}, lazy_feeds(specs),
        on_feed=seen.append,
    )  # fmt: skip
    assert comparison.passed
    assert comparison.worst_absolute == 0
    assert seen == [feed.label for feed in comparison.feeds] == ["min", "opt", "max", "odd"]
    assert comparison.feeds[2].shapes == {"x": (9, 6)}
    assert comparison.feeds[2].sizes == {"batch": 9}
    assert json.loads(json.dumps(comparison.to_dict()))["feeds"][2]["shapes"] == {"x": [9, 6]}


def test_a_mismatch_is_a_result() -> None:
    comparison = compared(lambda feed: {"y": feed["x"]}, lambda feed: {"y": feed["x"] + 1}, one_feed(x=np.ones(3)))
    assert not comparison.passed
    ((feed, output),) = comparison.failures
    assert (feed.label, output.name, output.worst_absolute) == ("data", "y", 1)


def test_a_missing_and_an_additional_output_fail() -> None:
    array = np.ones(2)
    comparison = compared(lambda _: {"a": array, "b": array}, lambda _: {"a": array, "c": array}, one_feed(x=array))
    reasons = {output.name: output.reason for output in comparison.feeds[0].outputs}
    assert reasons == {"a": None, "b": "the candidate has no such output", "c": "the reference has no such output"}


def test_outputs_that_are_views_are_compared_by_value() -> None:
    array = np.arange(12.0).reshape(3, 4)
    assert compared(lambda _: {"y": array.T}, lambda _: {"y": array.T.copy()}, one_feed(x=array)).passed


def test_inputs_arrive_contiguous_and_unchanged_in_dtype() -> None:
    feeds = one_feed(x=np.ones((3, 4), np.float16).T, n=np.array(3, np.int32), b=np.ones(2, ml_dtypes.bfloat16))

    def side(feed: Feed) -> Feed:
        assert {name: array.flags.c_contiguous for name, array in feed.items()} == dict.fromkeys("xnb", True)
        assert {name: str(array.dtype) for name, array in feed.items()} == {
            "x": "float16", "n": "int32", "b": "bfloat16",
        }  # fmt: skip
        return {"y": feed["n"]}

    assert compared(side, side, feeds).passed


def test_the_arrays_of_one_feed_are_alive_at_a_time() -> None:
    alive: list[tuple[int, weakref.ref[np.ndarray]]] = []
    current = 0

    def side(feed: Feed) -> Feed:
        output = feed["x"] + 0
        alive.append((current, weakref.ref(output)))
        return {"y": output}

    def load(index: int) -> Feed:
        nonlocal current
        current = index
        assert all(reference() is None for before, reference in alive if before != index)
        array = np.ones(10)
        alive.append((index, weakref.ref(array)))
        return {"x": array}

    feeds = [LazyFeed(str(index), {}, partial(load, index)) for index in range(3)]
    compared(side, side, feeds)
    assert len(alive) == 12


@pytest.mark.parametrize("failing", ["reference", "candidate"])
def test_a_side_that_raises_is_named_with_the_feed(failing: str) -> None:
    def broken(_: Feed) -> Feed:
        raise RuntimeError("boom")

    def works(feed: Feed) -> Feed:
        return feed

    sides: dict[str, Callable[[Feed], Feed]] = {"reference": works, "candidate": works, failing: broken}
    with pytest.raises(ValidationError, match=f"the {failing} failed on the data feed .x: 2x3.: RuntimeError: boom"):
        compared(sides["reference"], sides["candidate"], one_feed(x=np.ones((2, 3))))


def test_the_hint_of_a_side_that_explains_itself_is_kept() -> None:
    def broken(_: Feed) -> Feed:
        raise S2DeployError("too small", hint="make it larger")

    with pytest.raises(ValidationError, match="too small") as caught:
        compared(broken, broken, one_feed(x=np.ones(1)))
    assert caught.value.hint == "make it larger"


def test_nothing_to_compare_on_is_an_error() -> None:
    with pytest.raises(ValidationError, match="no feed"):
        compared(lambda feed: feed, lambda feed: feed, [])


def test_sides_without_outputs_prove_nothing() -> None:
    with pytest.raises(ValidationError, match="neither side has an output"):
        compared(lambda _: {}, lambda _: {}, one_feed(x=np.ones(1)))


def test_polygraphy_stays_silent(capfd: pytest.CaptureFixture[str]) -> None:
    compared(lambda feed: {"y": feed["x"]}, lambda feed: {"y": feed["x"] + 1}, one_feed(x=np.ones(3)))
    assert capfd.readouterr() == ("", "")


def test_the_reference_can_run_over_all_feeds_first() -> None:
    order: list[str] = []

    def side(name: str) -> Side:
        return lambda feed: order.append(name) or {"y": feed["x"]}

    recorded = tuple(record(side("reference"), [*one_feed(x=np.ones(1)), *one_feed(x=np.ones(2))]))
    assert compare(recorded, side("candidate")).identical
    assert order == ["reference", "reference", "candidate", "candidate"]


@pytest.mark.parametrize(
    ("dtype", "difference", "passed"),
    [(np.float32, 1e-6, True), (np.float32, 5e-5, False), (np.float64, 1e-12, False), (np.float16, 1e-3, True)],
)
def test_the_same_arithmetic_may_differ_by_rounding_only(dtype: type, difference: float, passed: bool) -> None:
    reference = np.ones(4, dtype)
    candidate = (reference + dtype(difference)).astype(dtype)
    usual = judge_output("y", reference, candidate, Tolerance())
    strict = judge_output("y", reference, candidate, Tolerance(), arithmetic=Arithmetic.SAME)
    assert (usual.passed, strict.passed) == (True, passed)
    assert not strict.identical


@pytest.mark.parametrize(
    ("dtype", "difference", "passed"),
    [
        (np.float64, 1e-10, True),
        (np.float64, 1e-9, False),
        (np.float32, 1.9e-5, True),
        (np.float32, 2.2e-5, False),
        (np.float16, 3e-3, True),
        (np.float16, 5e-3, False),
        (np.int64, 1, False),
    ],
)
def test_reordered_sums_may_differ_by_a_share_of_the_largest_value(
    dtype: type, difference: float, passed: bool
) -> None:
    reference = np.array([0, 1], dtype)
    candidate = reference + np.array([difference, 0], dtype)
    result = judge_output("y", reference, candidate, Tolerance(), arithmetic=Arithmetic.REORDERED)
    assert result.passed == passed


def test_identical_means_every_bit() -> None:
    assert judged(np.array([np.nan, 0.0]), np.array([np.nan, 0.0])).identical
    signed = judged(np.array([0.0, 1.0]), np.array([-0.0, 1.0]))
    assert (signed.passed, signed.identical) == (True, False)


def test_outputs_are_as_coarse_as_the_arithmetic_before_them() -> None:
    reference, candidate = np.array([0, 1], np.float32), np.array([3e-3, 1], np.float32)
    for resolution, passed in ((0.0, False), (2.0**-10, True)):
        result = judge_output(
            "y", reference, candidate, Tolerance(), arithmetic=Arithmetic.REORDERED, resolution=resolution
        )
        assert result.passed == passed
