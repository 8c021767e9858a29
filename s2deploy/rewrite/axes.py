"""Which axes of a graph's values are the same, so that they can be put in another order everywhere at once.

An axis is a variable. An operator that keeps an axis makes two variables one; a Reshape that merges axes makes one
variable the sequence of others. This is unification: a variable is free, the same as another, or a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence

Atoms = tuple[int, ...]


class AxisConflictError(Exception):
    """Two axes cannot be the same: one is made of others in another way, or of itself."""


class Axes:
    """Axis variables and what is known of them."""

    def __init__(self) -> None:
        self._same: list[int] = []
        self._sizes: list[int] = []
        self._parts: dict[int, Atoms] = {}
        self._trail: list[tuple[int, int | None]] = []

    def new(self) -> int:
        """Returns a variable nothing is known of."""
        self._same.append(len(self._same))
        self._sizes.append(1)
        return len(self._same) - 1

    def atoms(self, axis: int) -> Atoms:
        """Returns the axes that one is made of, in order; itself where it is not merged."""
        axis = self._find(axis)
        if axis not in self._parts:
            return (axis,)
        return tuple(atom for part in self._parts[axis] for atom in self.atoms(part))

    def relate(self, same: Sequence[tuple[int, int]], merged: Sequence[tuple[int, Atoms]] = ()) -> None:
        """Makes pairs of axes one, and axes sequences of others; all of it or, where that contradicts, nothing.

        Args:
            same: Pairs of the same axis.
            merged: An axis, and those it is made of.

        Raises:
            AxisConflictError: It contradicts what is known.
        """
        self._trail.clear()
        try:
            for first, second in same:
                self._unify(first, second)
            for axis, parts in merged:
                self._split(axis, parts)
        except AxisConflictError:
            for axis, joined in reversed(self._trail):
                if joined is None:
                    del self._parts[axis]
                else:
                    self._same[joined] = joined
                    self._sizes[axis] -= self._sizes[joined]
            raise

    def _find(self, axis: int) -> int:
        while self._same[axis] != axis:
            axis = self._same[axis]
        return axis

    def _unify(self, first: int, second: int) -> None:
        first, second = self._find(first), self._find(second)
        if first == second:
            return
        one, other = self._parts.get(first), self._parts.get(second)
        if one is None:
            self._check_apart(first, second)
            self._join(first, second, other)
        elif other is None:
            self._check_apart(second, first)
            self._join(second, first, one)
        elif len(one) != len(other):
            raise AxisConflictError("an axis is merged in two ways")
        else:
            for left, right in zip(one, other, strict=True):
                self._unify(left, right)

    def _split(self, axis: int, parts: Atoms) -> None:
        axis = self._find(axis)
        known = self._parts.get(axis)
        if known is None:
            if any(axis in self.atoms(part) for part in parts):
                raise AxisConflictError("an axis would be part of itself")
            self._parts[axis] = parts
            self._trail.append((axis, None))
        elif len(known) != len(parts):
            raise AxisConflictError("an axis is merged in two ways")
        else:
            for left, right in zip(known, parts, strict=True):
                self._unify(left, right)

    def _check_apart(self, axis: int, whole: int) -> None:
        if axis in self.atoms(whole):
            raise AxisConflictError("an axis would be part of itself")

    def _join(self, free: int, other: int, parts: Atoms | None) -> None:
        """Makes a free axis and another one, which has parts or not; the smaller set joins the larger."""
        root, joined = (other, free) if self._sizes[other] >= self._sizes[free] else (free, other)
        self._same[joined] = root
        self._sizes[root] += self._sizes[joined]
        self._trail.append((root, joined))
        if parts is not None and root == free:
            self._parts[root] = parts
            self._trail.append((root, None))
