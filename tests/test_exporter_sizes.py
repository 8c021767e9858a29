"""Example sizes: never 0 or 1, never two alike by accident, inside the ranges."""

import pytest

from s2deploy.exporter.sizes import attempts, distinct_sizes
from s2deploy.specs import named_dims, parse_inputs


@pytest.mark.parametrize(
    "texts",
    [
        ["x:batch=1..64,512,height=4..64,width=4..64"],
        ["x:batch=1..8..64,8,height=8..8..64,width=8..64/8"],
        ["x:a=1..2,b=1..3,c=1..4,d=1..5,2"],
        ["x:a=1..1..64", "y:a,b=1..1..64"],
    ],
)
def test_sizes_are_distinct_above_one_and_in_range(texts: list[str]) -> None:
    specs = parse_inputs(texts)
    sizes = distinct_sizes(specs)
    dims = named_dims(specs)
    assert sizes.keys() == dims.keys()
    for name, size in sizes.items():
        assert size in dims[name].sizes()
        assert size > 1
    if len(dims) < 4:
        assert len(set(sizes.values())) == len(sizes)
        assert not set(sizes.values()) & {dim.opt for spec in specs for dim in spec.dims if dim.is_fixed}


def test_sizes_stay_near_opt_and_away_from_parameters() -> None:
    specs = parse_inputs(["x:batch=1..8..64,height=28..224..448/28"])
    assert distinct_sizes(specs) == {"batch": 8, "height": 224}
    assert distinct_sizes(specs, taken={8, 224})["batch"] in (7, 9)


def test_a_range_of_only_one_is_taken_as_it_is() -> None:
    assert distinct_sizes(parse_inputs(["x:batch=1..1,4"])) == {"batch": 1}


def test_later_attempts_are_opt_and_then_equal_sizes() -> None:
    specs = parse_inputs(["x:h=2..7..8,w=2..8"])
    assert list(attempts(specs)) == [{"h": 7, "w": 8}, {"h": 8, "w": 8}]


def test_one_multiple_is_avoided_as_the_size_one_is() -> None:
    specs = parse_inputs(["x:h=28..28..84/28"])
    assert list(attempts(specs)) == [{"h": 84}]
