"""Writes random cases of every operator with the outputs of the Python reference, for the tests in C++.

Values are small integers, so that sums are exact and implementations must agree bit for bit, whatever their order.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from s2deploy.errors import RewriteError
from s2deploy.ops import MAX_EXTENT, MAX_OFFSET, OPS, SHIFT_SUM, SPATIAL_SHIFT, Border, Configuration, Shift

MAGIC = 0x53324443
DTYPES = (np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
GROUPS = 3
"""The kind of case that has only groups, which the reference accepts or refuses."""


def record(numbers: list[int], groups: list[int], *arrays: np.ndarray[Any, Any]) -> bytes:
    """Encodes a case: what it is, how long its parts are, the parts."""
    header = [*numbers, len(groups), *(array.nbytes for array in arrays), *[0] * (3 - len(arrays))]
    parts = [np.asarray(header + groups, "<i4").tobytes(), *(array.tobytes() for array in arrays)]
    return b"".join(parts)


def random_shifts(rng: np.random.Generator, channels: int, reach: int) -> tuple[Shift, ...]:
    """Draws groups with and without gaps; half of the time four of equal width, as the papers have it."""
    count = int(rng.integers(1, min(6, channels) + 1))
    if rng.random() < 0.5 and channels >= 4:
        cuts = [channels * part // 4 for part in range(5)]
        pairs = list(pairwise(cuts))
    else:
        edges = sorted(rng.choice(channels + 1, size=min(2 * count, (channels + 1) // 2 * 2), replace=False))
        pairs = [(int(begin), int(end)) for begin, end in zip(edges[::2], edges[1::2], strict=True)]
    offsets = [tuple(int(v) for v in rng.integers(-reach, reach + 1, 2)) for _ in pairs]
    still = [(0, 0) if rng.random() < 0.1 else offset for offset in offsets]
    along = [(dy, 0) if rng.random() < 0.4 else (dy, dx) for dy, dx in still]
    return tuple(Shift(begin, end, dy, dx) for (begin, end), (dy, dx) in zip(pairs, along, strict=True))


def operator_case(rng: np.random.Generator) -> bytes:
    """Draws an operator, a configuration and inputs; sizes of 0, 1, odd ones and multiples of a pack are all likely."""
    kind = int(rng.integers(len(OPS)))
    op = OPS[kind]
    dtype_index = int(rng.integers(len(DTYPES)))
    dtype = DTYPES[dtype_index]
    branches = 1 if op is SPATIAL_SHIFT else int(rng.choice([1, 2, 3, 3, 3, 5]))
    each = int(rng.choice([1, 2, 3, 4, 5, 7, 8, 12, 16, 24, 32, 40]))
    sizes = [0, 1, 1, 2, 3, 4, 5, 7, 8, 8, 12, 14, 16, 16]
    n, h, w = int(rng.choice([0, 1, 1, 2, 2, 3])), int(rng.choice(sizes)), int(rng.choice(sizes))
    channels = each * branches
    reach = int(rng.choice([1, 1, 2, 3, 9, 20]))
    border = Border(int(rng.integers(3))) if op is SPATIAL_SHIFT else Border.REPLICATE
    last = bool(rng.integers(2))
    configuration = Configuration(random_shifts(rng, channels, reach), last, border, branches)
    shape = (n, h, w, channels) if last else (n, channels, h, w)
    inputs = [rng.integers(-8, 9, shape).astype(dtype)]
    if op is SHIFT_SUM:
        inputs.append(rng.integers(-8, 9, (n, branches, each)).astype(dtype))
    expected = op.reference(configuration, *inputs)
    assert expected.shape == op.output_shape(configuration, *(array.shape for array in inputs))
    misalignment = int(rng.choice([0, 0, 0, 1, 2, 4]))
    weights = inputs[1] if op is SHIFT_SUM else np.empty(0, dtype)
    numbers = [kind, dtype_index, int(last), int(border), branches, n, channels, h, w, misalignment, 1]
    return record(numbers, configuration.groups, inputs[0], weights, expected)


def groups_case(rng: np.random.Generator) -> bytes:
    """Draws groups that are often wrong: out of order, overlapping, empty, too many, of too large numbers."""
    count = int(rng.choice([0, 1, 2, 3, 31, 32, 63, 64]))
    gap = int(rng.integers(2))
    groups = [v for at in range(count) for v in (at * (2 + gap), at * (2 + gap) + 2, 1, -1)]
    if groups and rng.random() < 0.6:
        extremes = [-1, 0, 1, 2, MAX_OFFSET, MAX_OFFSET + 1, -MAX_OFFSET - 1, MAX_EXTENT, MAX_EXTENT + 1]
        groups[int(rng.integers(len(groups)))] = int(rng.choice(extremes))
    if rng.random() < 0.1:
        groups = groups[:-1]
    try:
        Configuration.decode({"groups": groups})
        accepted = 1
    except RewriteError:
        accepted = 0
    return record([GROUPS, 0, 0, 0, 1, 0, 0, 0, 0, 0, accepted], groups)


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--count", type=int, default=4000, help="cases of operators; a tenth as many of groups")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    cases = [operator_case(rng) for _ in range(arguments.count)]
    cases += [groups_case(rng) for _ in range(arguments.count // 10)]
    arguments.output.write_bytes(np.asarray([MAGIC, len(cases)], "<i4").tobytes() + b"".join(cases))
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main()
