"""What a pass is given, and where it says what it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from s2deploy.rewrite.changes import Changes, Withdrawal
from s2deploy.rewrite.coordinates import Interval
from s2deploy.rewrite.layout import Layout
from s2deploy.rewrite.movement import Rewrite
from s2deploy.rewrite.refusals import Refusal
from s2deploy.rewrite.runtime_costs import DEFAULT_RUNTIME
from s2deploy.specs import Runtime


@dataclass
class RewriteReport:
    """What was rewritten, what was not and why.

    Attributes:
        runtime: What the graph is to be fast on.
        rewrites: Tensors that are now computed by other nodes.
        layouts: Regions that compute in another order of axes.
        refusals: Scatters, Transposes and shifts that were left alone.
        withdrawn: Changes that were left out because the outputs differed with them.
        guards: Comparisons of sizes that were decided by the declared ranges; the graph is right where they hold.
        nodes_before: Nodes that are not Constant, before.
        nodes_after: The same, after.
        scatters_before: ScatterND and ScatterElements nodes, before.
        scatters_after: The same, after.
    """

    runtime: Runtime = DEFAULT_RUNTIME
    rewrites: list[Rewrite] = field(default_factory=list)
    layouts: list[Layout] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    withdrawn: tuple[Withdrawal, ...] = ()
    guards: tuple[str, ...] = ()
    nodes_before: int = 0
    nodes_after: int = 0
    scatters_before: int = 0
    scatters_after: int = 0


@dataclass(frozen=True)
class Context:
    """What a pass may know beside the model.

    Attributes:
        ranges: Smallest and largest size of named dimensions.
        sizes: Typical size of named dimensions.
        report: Where a pass says what it did.
        weights: Names of the initializers that the file came with.
        changes: Which changes may be made.
        runtime: What the graph is to be fast on.
        pass_name: The pass that is running.
    """

    ranges: Mapping[str, Interval]
    sizes: Mapping[str, int]
    report: RewriteReport
    weights: frozenset[str]
    changes: Changes
    runtime: Runtime
    pass_name: str

    def allow(self, part: str) -> bool:
        """Whether the pass may replace a tensor or take a step; asked right before."""
        return self.changes.allow(self.pass_name, part)


Pass = Callable[[ir.Model, Context], None]
"""Changes a model in place."""
