"""The changes a rewrite makes, one by one, so that any of them can be left out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Change:
    """One thing a pass does to a graph.

    Attributes:
        pass_name: The pass.
        part: The tensor it replaces, or the step it takes; empty for the pass as a whole.
    """

    pass_name: str
    part: str = ""

    def __str__(self) -> str:
        return f"{self.pass_name} of {self.part}" if self.part else self.pass_name


@dataclass
class Changes:
    """Says which changes a rewrite may make, and keeps those it made, in order.

    The same changes are asked for in the same order in every run, as far as those before were allowed alike.

    Attributes:
        without: Changes that may not be made.
        most: How many may be made; None for all.
        made: Those that were allowed.
    """

    without: Collection[Change] = ()
    most: int | None = None
    made: list[Change] = field(default_factory=list)

    def allow(self, pass_name: str, part: str = "") -> bool:
        """Whether a change may be made; asked right before it is."""
        change = Change(pass_name, part)
        if change in self.without or len(self.made) == self.most:
            return False
        self.made.append(change)
        return True


@dataclass(frozen=True)
class Withdrawal:
    """A change that was left out because the graph was wrong with it.

    Attributes:
        change: What was left out.
        reason: What was wrong.
        output: The output that differed the most; None where the rewrite, or running its result, broke down.
        feed: The label of the feed it differed on.
        worst_absolute: How far it differed; None where it could not be subtracted.
    """

    change: Change
    reason: str
    output: str | None = None
    feed: str | None = None
    worst_absolute: float | None = None
