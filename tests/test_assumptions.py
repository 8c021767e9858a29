"""Guards as they are shown: no truism, nothing that another one implies."""

import pytest

from s2deploy.assumptions import assumptions


@pytest.mark.parametrize(
    ("guards", "shown"),
    [
        (["t != 1", "1 <= t", "0 <= t - 1", "0 <= t", "t - 1 > 1", "1 <= t - 1", "b > 0", "t > 1"], ["t >= 3"]),
        (["0 <= h", "h + w > 1", "h <= h * w", "h//2 <= h", "h - w != 5"], ["h - w != 5"]),
        (["h > w", "h > w", "2 <= h//2"], ["h >= 4", "h > w"]),
        (["h <= 8", "h != 5"], ["h <= 8", "h != 5"]),
        (["h - w != 0", "h == w"], ["h - w != 0", "h == w"]),
        (["", "a size's name > 1", "__import__('os').getcwd() == 1", "x ** 9 > 1", "'a' != 1", "1 <= h // (w - 1)"],
         ["", "a size's name > 1", "__import__('os').getcwd() == 1", "x ** 9 > 1", "'a' != 1", "1 <= h // (w - 1)"]),
    ],
)  # fmt: skip
def test_guards_are_shortened(guards: list[str], shown: list[str]) -> None:
    assert assumptions(guards) == shown
