"""Optimization profiles of an engine: which shapes each takes, and which one serves a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from s2deploy.errors import UsageError
from s2deploy.runtime.execution import Shape
from s2deploy.runtime.tensors import TensorInfo


@dataclass(frozen=True)
class Profile:
    """The shapes of all inputs in one optimization profile: smallest, typical and largest, by name."""

    shapes: Mapping[str, tuple[Shape, Shape, Shape]]

    def takes(self, shapes: Mapping[str, Shape]) -> bool:
        """Whether inputs of these shapes are inside it."""
        return all(
            len(shape) == len(low) and all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True))
            for shape, (low, _, high) in ((shapes[name], ends) for name, ends in self.shapes.items())
        )

    def distance(self, shapes: Mapping[str, Shape]) -> float:
        """Returns how far these shapes are from those the profile was tuned for."""
        return sum(
            abs(size - best) / max(best, 1)
            for name, (_, typical, _) in self.shapes.items()
            for size, best in zip(shapes[name], typical, strict=True)
        )

    def __str__(self) -> str:
        return "; ".join(
            f"{name} {' to '.join('x'.join(map(str, end)) or 'scalar' for end in (low, high))}"
            for name, (low, _, high) in self.shapes.items()
        )


def choose_profile(profiles: Sequence[Profile], shapes: Mapping[str, Shape]) -> int:
    """Returns the profile tuned for shapes nearest to these, among those that take them.

    Raises:
        UsageError: None does.
    """
    fitting = [index for index, profile in enumerate(profiles) if profile.takes(shapes)]
    if not fitting:
        given = ", ".join(f"{name} {'x'.join(map(str, shape)) or 'scalar'}" for name, shape in shapes.items())
        known = "\n".join(f"  profile {index}: {profile}" for index, profile in enumerate(profiles))
        raise UsageError(
            f"no optimization profile of the plan takes {given}; it has:\n{known}",
            hint="give sizes inside one of them, or build the plan with a profile for these: s2deploy build --input",
        )
    return min(fitting, key=lambda index: profiles[index].distance(shapes))


def profiles_of(engine: Any, inputs: Sequence[TensorInfo]) -> tuple[Profile, ...]:
    """Returns the profiles of a deserialized engine, in its order; one of fixed shapes where all are."""

    def shapes(info: TensorInfo, index: int) -> tuple[Shape, Shape, Shape]:
        if None not in info.shape:
            fixed = tuple(int(size) for size in info.shape if size is not None)
            return fixed, fixed, fixed
        low, typical, high = (tuple(end) for end in engine.get_tensor_profile_shape(info.name, index))
        return low, typical, high

    return tuple(
        Profile({info.name: shapes(info, index) for info in inputs})
        for index in range(max(1, engine.num_optimization_profiles))
    )
