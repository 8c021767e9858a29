"""The grammar of inputs, value ranges and tolerances."""

from __future__ import annotations

import pytest

from s2deploy.errors import InputSpecError, UsageError
from s2deploy.specs import Dim, Tolerance, named_dims, parse_inputs


def test_names_may_hold_colons_because_texts_are_parsed_from_the_right() -> None:
    (spec,) = parse_inputs(["input_1:0:1,3"])
    assert (spec.name, spec.dims, spec.dtype) == ("input_1:0", (Dim.fixed(1), Dim.fixed(3)), None)


def test_a_dtype_is_the_last_part() -> None:
    (spec,) = parse_inputs(["tokens:2,7:int64"])
    assert (spec.name, spec.shape({}), spec.dtype) == ("tokens", (2, 7), "int64")


@pytest.mark.parametrize("text", ["x:", "x::float32"])
def test_nothing_after_the_name_is_a_scalar(text: str) -> None:
    assert parse_inputs([text])[0].dims == ()


def test_sizes_may_be_joined_by_x_where_all_are_numbers() -> None:
    assert parse_inputs(["x:2x512x14x14"]) == parse_inputs(["x:2,512,14,14"])


def test_opt_is_max_unless_given() -> None:
    (spec,) = parse_inputs(["x:a=1..64,b=1..8..64,c=28..448/28"])
    assert spec.dims == (Dim("a", 1, 64, 64), Dim("b", 1, 8, 64), Dim("c", 28, 448, 448, 28))
    assert list(spec.dims[2].sizes())[:2] == [28, 56]


def test_a_name_alone_takes_the_range_given_elsewhere_before_or_after() -> None:
    first, second = parse_inputs(["x:batch,3", "y:batch=1..8,4"])
    assert first.dims[0] == second.dims[0] == Dim("batch", 1, 8, 8)
    assert list(named_dims([first, second])) == ["batch"]


@pytest.mark.parametrize("text", ["x:batch=1..8..64,3,height=28..448/28:float16", "x:", "a:b:7:bool", "x:0"])
def test_a_spec_prints_as_the_text_it_is_parsed_from(text: str) -> None:
    assert str(parse_inputs([text])[0]) == text


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["x"], "has no name or no dimensions"),
        ([":1,3"], "has no name"),
        (["x:1,,3"], "neither a dimension nor a dtype"),
        (["x:1,-3"], "neither a dimension nor a dtype"),
        (["x:1,3:float31"], "dimension 'float31' has no range"),
        (["x:1..3"], "has no name"),
        (["x:n=4..2"], "is not min <= opt <= max"),
        (["x:n=1..9..8"], "is not min <= opt <= max"),
        (["x:n=0..8"], "is not min <= opt <= max"),
        (["x:n=1..8/2"], "not multiples of 2"),
        (["x:n=1..8/0"], "not multiples of 0"),
        (["x:n"], "has no range"),
        (["x:1", "x:2"], "given twice"),
        (["x:n=1..2", "y:n=1..3"], "two ranges"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_reason(texts: list[str], message: str) -> None:
    with pytest.raises(InputSpecError, match=message) as caught:
        parse_inputs(texts)
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_value_ranges_belong_to_inputs_by_name() -> None:
    specs = parse_inputs(["x:3", "a=b:3"], ["x=-1..1e3", "a=b=0..7"])
    assert [spec.value_range for spec in specs] == [(-1.0, 1000.0), (0.0, 7.0)]


@pytest.mark.parametrize("text", ["x", "x=3", "x=5..3", "x=0..inf", "x=0..nan", "=0..1", "y=0..1"])
def test_a_value_range_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(InputSpecError, match="--value-range"):
        parse_inputs(["x:3"], [text])


@pytest.mark.parametrize(("atol", "rtol"), [(-1.0, 0.0), (0.0, float("inf")), (float("nan"), 0.0)])
def test_a_tolerance_is_finite_and_not_negative(atol: float, rtol: float) -> None:
    with pytest.raises(UsageError):
        Tolerance(atol, rtol)
