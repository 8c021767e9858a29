"""What happens when a rewrite gives other outputs than the original, or breaks down.

A defect of ours must not cost the user a correct file, nor all the rewrites that are right. Every change of a rewrite
can be left out. The shortest beginning of the changes that goes wrong is found by bisection; its last change is
withdrawn, and the rewrite starts again without it, until the outputs agree. Should that take too long, the longest
beginning that is known to be right is what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from s2deploy.accuracy import Comparison
from s2deploy.errors import RewriteError, S2DeployError
from s2deploy.rewrite import (
    DEFAULT_PASSES,
    DEFAULT_RUNTIME,
    REORDERING,
    Change,
    Changes,
    Pass,
    RewriteReport,
    Withdrawal,
    clean_up,
    rewrite,
)
from s2deploy.specs import Dim, Runtime

if TYPE_CHECKING:
    import onnx_ir as ir

_MOST_TRIALS = 64

Compare = Callable[["ir.Model"], Comparison | None]
"""Compares a model with the original; None where that was not asked for."""


@dataclass(frozen=True)
class Attempt:
    """A rewrite with some changes left out.

    Attributes:
        model: The graph.
        report: What was rewritten.
        made: The changes, in order.
        broke: What the rewrite raised; the graph is then half done.
        refused: What running the graph raised.
        comparison: How its outputs compare with the original's; None where they were not compared.
    """

    model: ir.Model
    report: RewriteReport
    made: tuple[Change, ...]
    broke: Exception | None = None
    refused: S2DeployError | None = None
    comparison: Comparison | None = None

    @property
    def is_right(self) -> bool:
        """Whether nothing speaks against it."""
        good = self.comparison is None or self.comparison.passed
        return good and self.broke is None and self.refused is None

    @property
    def is_reordered(self) -> bool:
        """Whether a change put sums in another order."""
        return any(change.part and change.pass_name in REORDERING for change in self.made)


def attempt(
    plain: ir.Model,
    ranges: dict[str, Dim],
    without: Collection[Change] = (),
    most: int | None = None,
    runtime: Runtime = DEFAULT_RUNTIME,
    passes: tuple[Pass, ...] = DEFAULT_PASSES,
) -> Attempt:
    """Rewrites a copy of a graph.

    Args:
        plain: The graph; it stays as it is.
        ranges: The sizes that named dimensions can take.
        without: Changes to leave out.
        most: How many changes to make; None for all.
        runtime: What the graph is to be fast on.
        passes: What to run, in order.

    Raises:
        RewriteError: The graph is none that can be rewritten.
    """
    model = plain.clone()
    changes = Changes(without, most)
    try:
        return Attempt(model, rewrite(model, ranges, passes, changes, runtime), tuple(changes.made))
    except RewriteError:
        raise
    except Exception as error:
        return Attempt(model, RewriteReport(), tuple(changes.made), broke=error)


class Search:
    """The search for the changes that are wrong.

    Args:
        tries: Rewrites with some changes left out, and compares.

    Attributes:
        withdrawn: The changes that were found wrong.
        finished: Whether nothing but them had to be left out.
    """

    def __init__(self, tries: Callable[[Collection[Change], int | None], Attempt]) -> None:
        self.withdrawn: dict[Change, Withdrawal] = {}
        self.finished = True
        self._tries = tries
        self._left = _MOST_TRIALS

    def settle(self, failed: Attempt) -> Attempt:
        """Returns the best rewrite that is right; one without any change, right or not, if there is none.

        Args:
            failed: The rewrite with all changes, which is wrong.
        """
        best = self._try(0)
        known = 0
        while best.is_right and not failed.is_right and self._left > 0:
            evidence = failed
            if failed.broke is None:
                low, high = known, len(failed.made)
                while high - low > 1 and self._left > 0:
                    tried = self._try((low + high) // 2)
                    if tried.is_right:
                        best, low = tried, len(tried.made)
                    else:
                        evidence, high = tried, max(len(tried.made), low + 1)
                known = low
                if high - low > 1:
                    break
            if not evidence.made or evidence.made[-1] in self.withdrawn:
                break
            self.withdrawn[evidence.made[-1]] = _withdrawal(evidence)
            failed = self._try(None)
        self.finished = failed.is_right
        return failed if failed.is_right or not best.is_right else self._beginning(failed.made[known:], best)

    def _beginning(self, rest: Sequence[Change], best: Attempt) -> Attempt:
        """Returns the rewrite without the rest of its changes but cleaned up, if it is right as well."""
        replacing = [change for change in rest if change.part and change.pass_name != clean_up.__name__]
        cleaned = self._tries((*self.withdrawn, *replacing), None)
        return cleaned if cleaned.is_right else best

    def _try(self, most: int | None) -> Attempt:
        self._left -= 1
        return self._tries(tuple(self.withdrawn), most)


def _withdrawal(evidence: Attempt) -> Withdrawal:
    change = evidence.made[-1]
    error = evidence.broke or evidence.refused
    if error is not None or evidence.comparison is None:
        said = error.message if isinstance(error, S2DeployError) else f"{type(error).__name__}: {error}"
        return Withdrawal(change, said.partition("\n")[0])
    feed, output = max(evidence.comparison.failures, key=lambda found: found[1].worst_absolute or 0.0)
    return Withdrawal(
        change, f"output {output.name!r}: {output.reason}", output.name, feed.label, output.worst_absolute
    )
