"""What a shift operator is told: which channels are read where, encoded as flat integers and checked in one place.

An offset says where a value is read from, as everywhere in this project: ``y[i, j] = x[i + dy, j + dx]``. Content
that moves down by one row has ``dy = -1``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from s2deploy.errors import RewriteError

MAX_OFFSET = 1 << 20
"""Largest absolute offset, in rows or columns."""

MAX_EXTENT = 1 << 30
"""Largest size of one axis: a coordinate plus an offset stays within 32 bits."""

MAX_SEGMENTS = 64
"""Groups and the gaps between them; the kernels take them as launch parameters."""


class Border(enum.IntEnum):
    """What is read where a group's source lies outside the feature map."""

    REPLICATE = 0
    """The nearest position inside."""
    ZERO = 1
    """Zero."""
    KEEP = 2
    """The value at the unshifted position, which is what an assignment to a slice leaves there."""


@dataclass(frozen=True)
class Shift:
    """Channels ``begin`` to ``end - 1`` are read ``dy`` rows down and ``dx`` columns to the right."""

    begin: int
    end: int
    dy: int
    dx: int


@dataclass(frozen=True)
class Configuration:
    """The attributes of a node of one of the operators; constructing one checks them.

    Attributes:
        shifts: Groups of channels, ascending and disjoint; channels in no group are not shifted.
        channels_last: Whether feature maps are ``N x H x W x C`` and not ``N x C x H x W``.
        border: What is read outside the feature map; `SpatialShift` alone has a choice.
        branches: How many parts of equal width the channels consist of; 1 for `SpatialShift`.

    Raises:
        RewriteError: The values contradict each other or exceed what the kernels take.
    """

    shifts: tuple[Shift, ...]
    channels_last: bool = False
    border: Border = Border.REPLICATE
    branches: int = 1

    def __post_init__(self) -> None:
        if not self.shifts:
            raise RewriteError("groups is empty", hint="leave the operator out: nothing is shifted")
        covered = segments = 0
        for shift in self.shifts:
            if not covered <= shift.begin < shift.end <= MAX_EXTENT:
                raise RewriteError(
                    f"channels {shift.begin} to {shift.end} do not follow channel {covered}",
                    hint="list groups of at least one channel in ascending order without overlap",
                )
            if max(abs(shift.dy), abs(shift.dx)) > MAX_OFFSET:
                raise RewriteError(
                    f"offset ({shift.dy}, {shift.dx}) is beyond {MAX_OFFSET}",
                    hint="export without the operator: Slice and Concat have no such limit",
                )
            segments += 1 if shift.begin == covered else 2
            covered = shift.end
        if segments >= MAX_SEGMENTS:  # one segment is left for the channels behind the last group
            raise RewriteError(
                f"{segments} runs of channels are more than {MAX_SEGMENTS - 1}",
                hint="export without the operator: Slice and Concat have no such limit",
            )
        if self.branches < 1:
            raise RewriteError(f"{self.branches} branches", hint="a sum has at least one")

    @property
    def groups(self) -> list[int]:
        """The shifts as flat integers: begin, end, dy, dx for each."""
        return [value for shift in self.shifts for value in (shift.begin, shift.end, shift.dy, shift.dx)]

    def encode(self, names: Iterable[str]) -> dict[str, int | list[int]]:
        """Returns the named attributes as ONNX stores them: an integer, or a list of integers for ``groups``."""
        values: dict[str, int | list[int]] = {
            "groups": self.groups,
            "channels_last": int(self.channels_last),
            "border": int(self.border),
            "branches": self.branches,
        }
        return {name: values[name] for name in names}

    @staticmethod
    def decode(attributes: Mapping[str, int | Sequence[int]]) -> Configuration:
        """Reads the attributes of a node; those that are missing have their default.

        Raises:
            RewriteError: An attribute is unknown, of the wrong kind, or does not fit the others.
        """
        unknown = sorted(set(attributes) - {"groups", "channels_last", "border", "branches"})
        if unknown:
            raise RewriteError(f"unknown attribute {unknown[0]!r}", hint="the file is of another version of s2deploy")
        groups = attributes.get("groups", ())
        if isinstance(groups, int) or len(groups) % 4:
            raise RewriteError("groups is not a list of begin, end, dy, dx", hint="export the model again")
        channels_last = _integer(attributes, "channels_last", 0)
        border = _integer(attributes, "border", 0)
        if channels_last not in (0, 1) or border not in list(Border):
            raise RewriteError(
                f"channels_last is {channels_last}, border is {border}", hint="they are 0 or 1, and 0, 1 or 2"
            )
        shifts = tuple(Shift(*(int(value) for value in groups[at : at + 4])) for at in range(0, len(groups), 4))
        return Configuration(shifts, bool(channels_last), Border(border), _integer(attributes, "branches", 1))


def _integer(attributes: Mapping[str, int | Sequence[int]], name: str, default: int) -> int:
    value = attributes.get(name, default)
    if not isinstance(value, int):
        raise RewriteError(f"{name} is not an integer", hint="export the model again")
    return value
