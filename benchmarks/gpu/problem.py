"""A problem to solve on a GPU: an operator, a shape, a dtype, and inputs made from a seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from s2deploy.ops import OPS, SHIFT_SUM, SHIFT_SUM_POOL, SPATIAL_SHIFT, Configuration, Op, Shift

DTYPES = ("float32", "float16", "bfloat16")
SHAPES = ((1, 96, 56, 56), (8, 192, 28, 28), (8, 384, 14, 14), (64, 192, 32, 32), (64, 384, 16, 16), (64, 384, 56, 56))
"""Batch, channels of one branch, height, width: those of S2-MLPv2 and larger; the last is the one with a goal."""

ODD_SHAPES = ((2, 100, 7, 7), (3, 36, 13, 1), (1, 5, 1, 9), (0, 8, 4, 4), (2, 8, 0, 4))
"""Checked, not measured: one row or column, channels that no pack divides, empty maps."""


@dataclass(frozen=True)
class Problem:
    """One operator on one shape.

    Attributes:
        op: The operator.
        shape: Batch, channels of one branch, height, width.
        dtype: The torch dtype's name.
        channels_last: The layout.
    """

    op: Op
    shape: tuple[int, ...]
    dtype: str
    channels_last: bool

    @property
    def branches(self) -> int:
        """One for a plain shift, three as in split attention for the sums."""
        return 1 if self.op is SPATIAL_SHIFT else 3

    @property
    def configuration(self) -> Configuration:
        """The shifts of S2-MLPv2: the first branch, the second with rows and columns exchanged, the third at rest."""
        channels = self.shape[1]
        cuts = [channels * part // 4 for part in range(5)]
        steps = ((-1, 0), (1, 0), (0, -1), (0, 1))
        shifts = [Shift(cuts[at], cuts[at + 1], *steps[at]) for at in range(4)]
        if self.branches == 3:
            shifts += [Shift(s.begin + channels, s.end + channels, s.dx, s.dy) for s in shifts]
        return Configuration(tuple(s for s in shifts if s.begin < s.end), self.channels_last, branches=self.branches)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of x in its layout."""
        n, c, h, w = self.shape
        return (n, h, w, c * self.branches) if self.channels_last else (n, c * self.branches, h, w)

    @property
    def bytes_moved(self) -> int:
        """Bytes that have to be read and written, each once; a pooled output is too small to count."""
        n, c, h, w = self.shape
        size = 4 if self.dtype == "float32" else 2
        maps = {SPATIAL_SHIFT: 2, SHIFT_SUM: self.branches + 1, SHIFT_SUM_POOL: self.branches}[self.op]
        return maps * n * c * h * w * size

    def inputs(self, device: str) -> list[Any]:
        """Returns x and, for the weighted sum, w that sum to 1 over the branches."""
        import torch

        generator = torch.Generator(device).manual_seed(0)
        dtype = getattr(torch, self.dtype)
        tensors = [torch.randn(self.input_shape, generator=generator, device=device).to(dtype)]
        if self.op is SHIFT_SUM:
            n, c = self.shape[:2]
            weights = torch.randn((n, self.branches, c), generator=generator, device=device).softmax(1)
            tensors.append(weights.to(dtype))
        return tensors

    def __str__(self) -> str:
        layout = "NHWC" if self.channels_last else "NCHW"
        return f"{self.op.name} {'x'.join(map(str, self.shape))} {layout} {self.dtype}"


def problems(shapes: Iterable[tuple[int, ...]], dtypes: Iterable[str]) -> Iterator[Problem]:
    """Yields every operator on every shape in every dtype and layout."""
    for op, shape, dtype, last in product(OPS, shapes, dtypes, (False, True)):
        yield Problem(op, shape, dtype, last)
