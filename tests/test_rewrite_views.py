"""Which axes of a tensor in one shape are which of it in another."""

from __future__ import annotations

import pytest

from s2deploy.rewrite.views import own_axis


@pytest.mark.parametrize(
    ("inner", "outer", "axis", "found"),
    [
        ((2, 6), (2, 2, 3), 1, (1, 3)),
        ((2, 6), (2, 2, 3), 2, None),
        ((2, 1, 6), (2, 1, 2, 3), 2, (2, 3)),
        ((2, 1, 6), (2, 1, 2, 3), 1, None),
        ((2, 3, 4), (2, 12), 1, None),
        ((1,), (1, 1), 0, None),
        ((), (1,), 0, None),
    ],
)
def test_an_axis_that_begins_another_is_found(
    inner: tuple[int, ...], outer: tuple[int, ...], axis: int, found: tuple[int, int] | None
) -> None:
    assert own_axis(inner, outer, axis) == found
