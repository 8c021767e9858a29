"""Shifts as frameworks write them: overlapping chains in every layout, and the index arithmetic around them."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import onnx
import pytest
from rewriting import check, ints, op_types
from small_models import make

from s2deploy.specs import Dim

FAR = (1 << 63) - 1
GROUPS = ((1, True), (1, False), (2, True), (2, False))
"""The axis and direction in which each quarter of the channels moves."""


def sliced(shape: tuple[int, ...], axis: int, forward: bool) -> tuple[slice, slice]:
    """Returns where a shift writes and where it reads."""
    low, high = slice(0, shape[axis] - 1), slice(1, shape[axis])
    return (high, low) if forward else (low, high)


def chain(shape: tuple[int, ...], channel_axis: int, style: str, dtype: str = "float") -> onnx.ModelProto:
    """Returns the four overlapping assignments of a spatial shift, each reading what the one before it wrote.

    Args:
        shape: Sizes of the tensor, channels last or first.
        channel_axis: The axis of the channels; the two after the batch that are not it are height and width.
        style: How the scatter is written: "nd" with full indices, "rows" on the axis made the first one.
        dtype: The element type.
    """
    count = shape[channel_axis]
    edges = [0, count // 4, count // 2, count * 3 // 4, count]
    spatial = [axis for axis in (1, 2, 3) if axis != channel_axis]
    body, weights, name = [], {}, "x"
    for k, (which, forward) in enumerate(GROUPS):
        axis = spatial[which - 1]
        target, source = sliced(shape, axis, forward)
        begin, end = edges[k], edges[k + 1]
        weights |= {f"b{k}": ints(source.start, begin), f"e{k}": ints(source.stop, end)}
        weights[f"a{k}"] = ints(axis, channel_axis)
        body.append(f"u{k} = Slice({name}, b{k}, e{k}, a{k})")
        box = [range(size) for size in shape]
        box[axis], box[channel_axis] = range(target.start, target.stop), range(begin, end)
        if style == "nd":
            index = np.stack(np.meshgrid(*box, indexing="ij"), axis=-1).astype(np.int64)
            body.append(f"y{k} = ScatterND({name}, i{k}, u{k})")
        else:
            order = [axis, channel_axis, *(t for t in range(4) if t not in (axis, channel_axis))]
            back = [order.index(t) for t in range(4)]
            index = np.stack(np.meshgrid(box[axis], box[channel_axis], indexing="ij"), axis=-1).astype(np.int64)
            body.append(f"t{k} = Transpose<perm={order}>({name}) v{k} = Transpose<perm={order}>(u{k})")
            body.append(f"w{k} = ScatterND(t{k}, i{k}, v{k}) y{k} = Transpose<perm={back}>(w{k})")
        weights[f"i{k}"] = index
        name = f"y{k}"
    extent = ",".join(map(str, shape))
    return make(f"({dtype}[{extent}] x) => ({dtype}[{extent}] y3)", " ".join(body), weights)


@pytest.mark.parametrize("style", ["nd", "rows"])
@pytest.mark.parametrize(("size", "channels"), [*product([(5, 4), (2, 3), (6, 6)], [8, 7])])
@pytest.mark.parametrize("channel_axis", [1, 3], ids=["NCHW", "NHWC"])
def test_a_spatial_shift(channel_axis: int, size: tuple[int, int], channels: int, style: str) -> None:
    shape = (2, channels, *size) if channel_axis == 1 else (2, *size, channels)
    result, report = check(chain(shape, channel_axis, style))
    assert (report.scatters_before, report.scatters_after) == (4, 0)
    assert not report.refusals
    assert report.rewrites[0].name == "y3"
    # Both rows of an axis of size 2 become the same one: a broadcast instead of a join.
    twos = 2 * (size[0] == 2) + 2 * (size[1] == 2)
    assert +op_types(result) == +Counter({"Pad": 4 - twos, "Concat": 1, "Expand": twos, "Slice": twos})


@pytest.mark.parametrize("dtype", ["float16", "double", "int64", "uint8", "bool"])
def test_a_spatial_shift_of_any_type(dtype: str) -> None:
    _, report = check(chain((1, 3, 4, 6), 3, "nd", dtype))
    assert report.scatters_after == 0


@pytest.mark.parametrize("size", [(2, 2), (3, 2), (7, 4)])
def test_torchscript_index_arithmetic(size: tuple[int, int]) -> None:
    """``x[:, 1:] = x[:, :-1]`` the way the TorchScript exporter spells its indices."""
    body = """
        u = Slice(x, zero, minus, one) s = Shape(x) h = Gather<axis=0>(s, one0) rows = Range(zero0, h, one0)
        r = Slice(rows, one, far, zero) n = Gather<axis=0>(s, zero0) all = Range(zero0, n, one0)
        nc = Reshape(all, column) ones = ConstantOfShape<value=int64[1]{1}>(two) minuses = Mul(ones, negative)
        su = Shape(u) first = Slice(su, zero, two, zero) wanted = Where(same, ones, first)
        nx = Expand(nc, first) rx = Expand(r, first) ni = Unsqueeze(nx, last) ri = Unsqueeze(rx, last)
        i = Concat<axis=-1>(ni, ri) y = ScatterND(x, i, u)
    """
    weights = {
        "zero": ints(0), "one": ints(1), "minus": ints(-1), "far": ints(FAR), "two": ints(2), "last": ints(-1),
        "zero0": np.int64(0), "one0": np.int64(1), "column": ints(-1, 1), "negative": ints(-1),
        "same": np.array([False, False]),
    }  # fmt: skip
    n, h = size
    result, report = check(make(f"(float[{n},{h},3] x) => (float[{n},{h},3] y)", body, weights))
    assert report.scatters_after == 0
    assert set(op_types(result)) == ({"Slice", "Expand"} if h == 2 else {"Pad"})
    dynamic, report = check(
        make("(float[N,H,3] x) => (float[N,H,3] y)", body, weights),
        *({"N": n, "H": h} for n in (1, 2, 3) for h in (1, 2, 5)),
    )
    assert report.scatters_after == 0
    assert set(op_types(dynamic)) == {"Slice", "Concat"}


def test_dynamo_style_with_transposes_and_ranges() -> None:
    body = """
        u = Slice(x, zero, minus, one) s = Shape<start=1, end=2>(x) h = Squeeze(s, zero)
        r = Range(one0, h, one0) i = Unsqueeze(r, last) t = Transpose<perm=[1,0,2]>(x) v = Transpose<perm=[1,0,2]>(u)
        w = ScatterND(t, i, v) y = Transpose<perm=[1,0,2]>(w)
    """
    weights = {"zero": ints(0), "one": ints(1), "minus": ints(-1), "last": ints(-1), "one0": np.int64(1)}
    model = make("(float[N,H,3] x) => (float[N,H,3] y)", body, weights)
    result, report = check(model, *({"N": n, "H": h} for n in (1, 3) for h in (1, 2, 3)))
    assert report.scatters_after == 0
    assert op_types(result) == {"Slice": 2, "Concat": 1}


def test_a_temporal_shift() -> None:
    """A third of the channels forward, a third back, zeros elsewhere, as temporal shift modules do it."""
    body = """
        z = ConstantOfShape(shape) a = Slice(x, one, far, time) a1 = Slice(a, zero, two, channel)
        b = Slice(x, zero, minus, time) b1 = Slice(b, two, four, channel) c = Slice(x, four, far, channel)
        y1 = ScatterND(z, i1, a1) y2 = ScatterND(y1, i2, b1) y = ScatterND(y2, i3, c)
    """

    def index(frames: range, channels: range) -> np.ndarray:
        return np.stack(np.meshgrid(range(2), frames, channels, indexing="ij"), axis=-1).astype(np.int64)

    weights = {
        "shape": ints(2, 4, 6, 3), "zero": ints(0), "one": ints(1), "two": ints(2), "four": ints(4), "far": ints(FAR),
        "minus": ints(-1), "time": ints(1), "channel": ints(2), "i1": index(range(3), range(2)),
        "i2": index(range(1, 4), range(2, 4)), "i3": index(range(4), range(4, 6)),
    }  # fmt: skip
    result, report = check(make("(float[2,4,6,3] x) => (float[2,4,6,3] y)", body, weights))
    assert report.scatters_after == 0
    assert set(op_types(result)) <= {"Slice", "Concat", "Pad"}


def test_ranges_decide_and_leave_guards() -> None:
    body = "u = Slice(x, zero, two, one) y = ScatterND(x, i, u)"
    index = np.stack(np.meshgrid(range(1), range(1, 3), indexing="ij"), axis=-1).astype(np.int64)
    weights = {"zero": ints(0), "one": ints(1), "two": ints(2), "i": index}
    model = make("(float[1,width,3] x) => (float[1,width,3] y)", body, weights)
    _, refused = check(model, {"width": 3}, {"width": 7})
    assert refused.scatters_after == 1
    assert "width" in refused.refusals[-1].reason
    _, done = check(model, {"width": 3}, {"width": 7}, ranges={"width": Dim("width", 3, 5, 7)})
    assert done.scatters_after == 0
    assert any("width" in guard for guard in done.guards)


def test_no_annotations_between() -> None:
    body = "a = Relu(x) u = Slice(a, zero, minus, one) y0 = ScatterND(a, i, u) y = Neg(y0)"
    index = np.stack(np.meshgrid(range(2), range(1, 4), indexing="ij"), axis=-1).astype(np.int64)
    weights = {"zero": ints(0), "one": ints(1), "minus": ints(-1), "i": index}
    _, report = check(make("(float[2,4,3] x) => (float[?,?,?] y)", body, weights))
    assert report.scatters_after == 0
