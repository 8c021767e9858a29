"""What a comparison found: frozen values, ready for the terminal and for JSON.

A mismatch is a result, not an error, so nothing here raises.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from s2deploy.specs import Tolerance


@dataclass(frozen=True)
class OutputComparison:
    """One output of one feed.

    Attributes:
        name: The output's name.
        worst_absolute: Largest ``|candidate - reference|`` over the elements finite on both sides; None where
            the outputs cannot be subtracted (missing, or of another shape).
        worst_relative: Largest ``|candidate - reference| / |reference|`` over the elements where the reference
            exceeds ``atol * max|reference|``, below which the absolute tolerance decides; None as above.
        largest_reference: Largest finite ``|reference|``, which `Tolerance.atol` is a share of; None as above.
        tolerance: What was allowed; both shares are 0 for integers and booleans, which must be equal.
        passed: Whether the output is within the tolerance.
        reason: Why it did not pass; None where it did.
        identical: Whether every bit is the same.
    """

    name: str
    worst_absolute: float | None
    worst_relative: float | None
    largest_reference: float | None
    tolerance: Tolerance
    passed: bool
    reason: str | None = None
    identical: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Returns the comparison as JSON values."""
        return {
            "name": self.name,
            "worst_absolute": self.worst_absolute,
            "worst_relative": self.worst_relative,
            "largest_reference": self.largest_reference,
            "tolerance": {"atol": self.tolerance.atol, "rtol": self.tolerance.rtol},
            "passed": self.passed,
            "reason": self.reason,
            "identical": self.identical,
        }


@dataclass(frozen=True)
class FeedComparison:
    """All outputs of one feed.

    Attributes:
        label: Which feed: ``min``, ``opt``, ``max``, ``odd`` or ``data``.
        sizes: The sizes of the named dimensions.
        shapes: The inputs' shapes by name.
        outputs: One comparison per output, in the reference's order.
    """

    label: str
    sizes: dict[str, int]
    shapes: dict[str, tuple[int, ...]]
    outputs: tuple[OutputComparison, ...]

    @property
    def passed(self) -> bool:
        """Whether every output passed."""
        return all(output.passed for output in self.outputs)

    def to_dict(self) -> dict[str, Any]:
        """Returns the comparison as JSON values."""
        return {
            "label": self.label,
            "sizes": self.sizes,
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "passed": self.passed,
            "outputs": [output.to_dict() for output in self.outputs],
        }


@dataclass(frozen=True)
class Comparison:
    """Two ways to run a model, compared over all feeds.

    Attributes:
        tolerance: What was asked for.
        feeds: One comparison per feed, in the order they ran.
    """

    tolerance: Tolerance
    feeds: tuple[FeedComparison, ...]

    @property
    def passed(self) -> bool:
        """Whether every output of every feed passed."""
        return all(feed.passed for feed in self.feeds)

    @property
    def identical(self) -> bool:
        """Whether every output of every feed is the same bit by bit."""
        return all(output.identical for feed in self.feeds for output in feed.outputs)

    @property
    def worst_absolute(self) -> float | None:
        """Largest absolute difference anywhere; None where nothing could be subtracted."""
        return _largest(output.worst_absolute for feed in self.feeds for output in feed.outputs)

    @property
    def worst_relative(self) -> float | None:
        """Largest relative difference anywhere; None where nothing could be subtracted."""
        return _largest(output.worst_relative for feed in self.feeds for output in feed.outputs)

    @property
    def failures(self) -> tuple[tuple[FeedComparison, OutputComparison], ...]:
        """The outputs that did not pass, each with its feed."""
        return tuple((feed, output) for feed in self.feeds for output in feed.outputs if not output.passed)

    def to_dict(self) -> dict[str, Any]:
        """Returns the comparison as JSON values."""
        return {
            "passed": self.passed,
            "identical": self.identical,
            "tolerance": {"atol": self.tolerance.atol, "rtol": self.tolerance.rtol},
            "worst_absolute": self.worst_absolute,
            "worst_relative": self.worst_relative,
            "feeds": [feed.to_dict() for feed in self.feeds],
        }


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
