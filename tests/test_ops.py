"""The operators' definition: what is read where, what is accepted, and how it is encoded."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from s2deploy import ops
from s2deploy.errors import RewriteError
from s2deploy.ops import OPS, SHIFT_SUM, SHIFT_SUM_POOL, SPATIAL_SHIFT, Border, Configuration, Shift

ROOT = Path(__file__).parents[1]
SEED = (Shift(0, 1, -1, 0), Shift(1, 3, 1, 0), Shift(3, 4, 0, -1), Shift(4, 6, 0, 1))
"""The shifts of S2-MLPv2 on 6 channels, of which 4 groups are 1 or 2."""


def random(*shape: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def one_by_one(configuration: Configuration, x: Any) -> Any:
    """The definition again, element by element and channels first."""
    n, channels, height, width = x.shape
    y = np.empty_like(x)
    for c, i, j in product(range(channels), range(height), range(width)):
        offset = next(((s.dy, s.dx) for s in configuration.shifts if s.begin <= c < s.end), (0, 0))
        row, column = i + offset[0], j + offset[1]
        inside = 0 <= row < height and 0 <= column < width
        if not inside and configuration.border is Border.KEEP:
            row, column = i, j
        value = x[:, c, min(max(row, 0), height - 1), min(max(column, 0), width - 1)]
        y[:, c, i, j] = np.zeros(n, x.dtype) if not inside and configuration.border is Border.ZERO else value
    return y


@pytest.mark.parametrize("border", list(Border))
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (2, 1), (3, 4), (7, 2)])
def test_every_element_is_read_where_it_should_be(border: Border, height: int, width: int) -> None:
    shifts = (Shift(0, 2, -1, 0), Shift(3, 4, 2, -3), Shift(4, 5, 0, 9))
    configuration = Configuration(shifts, border=border)
    x = random(2, 6, height, width)
    np.testing.assert_array_equal(ops.spatial_shift(configuration, x), one_by_one(configuration, x))


@pytest.mark.parametrize("border", [Border.REPLICATE, Border.KEEP])
def test_single_steps_are_what_slice_assignments_mean(border: Border) -> None:
    x = random(2, 4, 5, 6)
    y = x.copy()
    y[:, 1:, :, :1] = x[:, :-1, :, :1]
    y[:, :-1, :, 1:3] = x[:, 1:, :, 1:3]
    y[:, :, 1:, 3:4] = x[:, :, :-1, 3:4]
    y[:, :, :-1, 4:] = x[:, :, 1:, 4:]
    np.testing.assert_array_equal(ops.spatial_shift(Configuration(SEED, True, border), x), y)


def test_longer_steps_keep_what_an_assignment_does_not_reach() -> None:
    x = random(1, 5, 5, 2)
    y = x.copy()
    y[:, 3:, :, :1] = x[:, :-3, :, :1]
    np.testing.assert_array_equal(ops.spatial_shift(Configuration((Shift(0, 1, -3, 0),), True, Border.KEEP), x), y)


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_sums_are_split_attention(channels_last: bool) -> None:
    n, k, c, h, w = 2, 3, 6, 4, 5
    shifts = (*SEED, *(Shift(s.begin + c, s.end + c, s.dx, s.dy) for s in SEED))
    configuration = Configuration(shifts, channels_last, branches=k)
    x = random(n, h, w, k * c) if channels_last else random(n, k * c, h, w)
    weights = random(n, k, c)
    shifted = ops.spatial_shift(configuration, x)
    maps = np.moveaxis(shifted, 3, 1) if channels_last else shifted
    parts = maps.reshape(n, k, c, h, w).astype(np.float64)
    expected = np.einsum("nkc,nkchw->nchw", weights.astype(np.float64), parts)
    y = ops.shift_sum(configuration, x, weights)
    np.testing.assert_allclose(np.moveaxis(y, 3, 1) if channels_last else y, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ops.shift_sum_pool(configuration, x), parts.sum((1, 3, 4)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(0, 6, 3, 3), (2, 6, 0, 3), (2, 6, 3, 0), (1, 6, 1, 1)])
def test_dtypes_and_empty_maps(dtype: Any, shape: tuple[int, ...]) -> None:
    configuration = Configuration(SEED, branches=2)
    x = random(*shape, dtype=dtype)
    assert ops.spatial_shift(configuration, x).dtype == dtype
    y = ops.shift_sum(configuration, x, random(shape[0], 2, 3, dtype=dtype))
    assert (y.dtype, y.shape) == (dtype, (shape[0], 3, *shape[2:]))
    pooled = ops.shift_sum_pool(configuration, x)
    assert (pooled.dtype, pooled.shape) == (np.float32, (shape[0], 3))
    assert x.size or not pooled.any()


def test_float16_sums_do_not_overflow() -> None:
    x = np.full((1, 2, 64, 64), 100, np.float16)
    assert ops.shift_sum_pool(Configuration((Shift(0, 1, 1, 0),)), x).tolist() == [[409600.0, 409600.0]]


@pytest.mark.parametrize(
    ("shifts", "reason"),
    [
        ((), "groups is empty"),
        ((Shift(2, 2, 1, 0),), "do not follow"),
        ((Shift(-1, 2, 1, 0),), "do not follow"),
        ((Shift(0, 4, 1, 0), Shift(3, 5, 1, 0)), "do not follow"),
        ((Shift(4, 6, 1, 0), Shift(0, 2, 1, 0)), "do not follow"),
        ((Shift(0, 4, ops.MAX_OFFSET + 1, 0),), "beyond"),
        (tuple(Shift(3 * at, 3 * at + 1, 1, 0) for at in range(33)), "runs of channels"),
    ],
)
def test_groups_that_cannot_be_meant_are_refused(shifts: tuple[Shift, ...], reason: str) -> None:
    with pytest.raises(RewriteError, match=reason):
        Configuration(shifts)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_attributes_survive_a_round_trip(op: ops.Op) -> None:
    border = Border.ZERO if op is SPATIAL_SHIFT else Border.REPLICATE
    configuration = Configuration(SEED, True, border, 1 if op is SPATIAL_SHIFT else 3)
    attributes = op.encode(configuration)
    assert list(attributes) == [attribute.name for attribute in op.attributes]
    assert attributes["groups"][:8] == [0, 1, -1, 0, 1, 3, 1, 0]  # type: ignore[index]
    assert op.decode(attributes) == configuration


@pytest.mark.parametrize(
    ("op", "attributes", "reason"),
    [
        (SPATIAL_SHIFT, {"groups": [0, 4, 1]}, "begin, end, dy, dx"),
        (SPATIAL_SHIFT, {"groups": 4}, "begin, end, dy, dx"),
        (SPATIAL_SHIFT, {"groups": [0, 4, 1, 0], "border": 3}, "border is 3"),
        (SPATIAL_SHIFT, {"groups": [0, 4, 1, 0], "border": [1]}, "not an integer"),
        (SPATIAL_SHIFT, {"groups": [0, 4, 1, 0], "branches": 3}, "no attribute 'branches'"),
        (SPATIAL_SHIFT, {"groups": [0, 4, 1, 0], "steps": 3}, "no attribute 'steps'"),
        (SHIFT_SUM, {"groups": [0, 4, 1, 0]}, "lacks the attribute 'branches'"),
        (SHIFT_SUM_POOL, {"groups": [0, 4, 1, 0], "branches": 0}, "0 branches"),
    ],
)
def test_attributes_that_do_not_fit_are_refused(op: ops.Op, attributes: Any, reason: str) -> None:
    with pytest.raises(RewriteError, match=reason):
        op.decode(attributes)


def test_shape_rules() -> None:
    first, last = Configuration(SEED, branches=3), Configuration(SEED, True, branches=3)
    assert SPATIAL_SHIFT.output_shape(Configuration(SEED), (2, 6, 4, 5)) == (2, 6, 4, 5)
    assert SHIFT_SUM.output_shape(first, (2, 18, 4, 5), (2, 3, 6)) == (2, 6, 4, 5)
    assert SHIFT_SUM.output_shape(last, (2, 4, 5, 18), (2, 3, 6)) == (2, 4, 5, 6)
    assert SHIFT_SUM_POOL.output_shape(first, (2, 18, 4, 5)) == (2, 6)
    assert SHIFT_SUM_POOL.output_shape(last, (2, 4, 5, 18)) == (2, 6)


@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        (SPATIAL_SHIFT, [(2, 6, 4)]),
        (SPATIAL_SHIFT, [(2, 5, 4, 5)]),
        (SHIFT_SUM, [(2, 18, 4, 5)]),
        (SHIFT_SUM, [(2, 17, 4, 5), (2, 3, 6)]),
        (SHIFT_SUM, [(2, 18, 4, 5), (1, 3, 6)]),
        (SHIFT_SUM_POOL, [(2, 16, 4, 5)]),
        (SHIFT_SUM_POOL, [(2, 18, 4, ops.MAX_EXTENT + 1)]),
    ],
)
def test_shapes_that_do_not_fit_are_refused(op: ops.Op, shapes: list[tuple[int, ...]]) -> None:
    configuration = Configuration(SEED, branches=1 if op is SPATIAL_SHIFT else 3)
    with pytest.raises(RewriteError, match=op.name):
        op.output_shape(configuration, *shapes)


def test_the_kernels_have_the_same_limits_and_numbers() -> None:
    header = (ROOT / "plugins" / "common" / "shiftTable.h").read_text(encoding="utf-8")
    constants = dict(re.findall(r"constexpr int32_t k(\w+) = ([^;]+);", header))
    values = {name: eval(expression) for name, expression in constants.items()}
    expected = {"MAX_SEGMENTS": ops.MAX_SEGMENTS, "MAX_OFFSET": ops.MAX_OFFSET, "MAX_EXTENT": ops.MAX_EXTENT}
    assert values == expected
    borders = {name: int(value) for name, value in re.findall(r"    k(\w+) = (\d),", header)}
    assert borders == {border.name: int(border) for border in Border}


def test_the_plugins_have_the_names_and_attributes_of_the_schema() -> None:
    plugins = ROOT / "plugins"
    attributes = (plugins / "common" / "attributes.cpp").read_text(encoding="utf-8")
    assert f'kNAMESPACE = "{ops.DOMAIN}"' in (plugins / "common" / "attributes.h").read_text(encoding="utf-8")
    assert f'kVERSION = "{ops.VERSION}"' in (plugins / "common" / "attributes.h").read_text(encoding="utf-8")
    for op in OPS:
        folder = op.name[0].lower() + op.name[1:]
        header = (plugins / folder / f"{folder}Plugin.h").read_text(encoding="utf-8")
        assert f'kNAME = "{op.name}"' in header
        choice = op.attributes[-1].name
        assert f"AttributeSet::k{choice.upper()};" in header
        for attribute in op.attributes:
            assert f'"{attribute.name}"' in attributes
