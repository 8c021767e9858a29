"""Rewrites of ONNX graphs: data movement is understood, composed, and written down as cheaply as it can be.

`DEFAULT_PASSES` is the order in which they run; `rewrite` runs them on a model in place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import onnx_ir as ir
from onnx_ir.passes import common

from s2deploy.errors import RewriteError
from s2deploy.rewrite.changes import Change, Changes, Withdrawal
from s2deploy.rewrite.channel_order import order_channels
from s2deploy.rewrite.coordinates import Interval
from s2deploy.rewrite.duplicates import remove_duplicates
from s2deploy.rewrite.edge_pads import pad_shifts
from s2deploy.rewrite.folding import fold_constants
from s2deploy.rewrite.fused_gelu import fuse_gelu
from s2deploy.rewrite.fused_normalization import fuse_normalization
from s2deploy.rewrite.layout import Layout, choose_layouts
from s2deploy.rewrite.movement import Rewrite, compose_movement
from s2deploy.rewrite.multiples import factored, part_of
from s2deploy.rewrite.outputs import faces, remove_identities, restore
from s2deploy.rewrite.plugin_functions import is_function_of_operator, is_operator
from s2deploy.rewrite.plugin_shifts import fuse_shifts
from s2deploy.rewrite.plugin_sums import fuse_sums
from s2deploy.rewrite.reductions_stacked import unstack_reductions
from s2deploy.rewrite.refusals import Refusal
from s2deploy.rewrite.reshape_targets import fix_reshape_targets
from s2deploy.rewrite.rules import SCATTERS
from s2deploy.rewrite.runtime_costs import COSTS, DEFAULT_RUNTIME
from s2deploy.rewrite.scatter_reductions import expand_reductions
from s2deploy.rewrite.views_merged import merge_views
from s2deploy.specs import Dim, Runtime

__all__ = [
    "DEFAULT_PASSES",
    "DEFAULT_RUNTIME",
    "PLUGIN_PASSES",
    "REORDERING",
    "Change",
    "Changes",
    "Layout",
    "Pass",
    "Refusal",
    "Rewrite",
    "RewriteReport",
    "Withdrawal",
    "clean_up",
    "count_nodes",
    "count_scatters",
    "plugin_operators",
    "rewrite",
]

_OLDEST_OPSET = 11
_MOST_ROUNDS = 6


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


def prepare(model: ir.Model, _: Context) -> None:
    """Inlines local functions of the model's opsets and makes constants initializers.

    Functions that say what the operators of `s2deploy.ops` compute stay.
    IR version 3 knows initializers as inputs only.
    """
    model.ir_version = max(model.ir_version, 4)
    if model.functions:
        own = dict(model.opset_imports)
        common.InlinePass(
            lambda body: (
                not is_function_of_operator(body)
                and all(own.get(name, n) == n for name, n in body.opset_imports.items())
            )
        )(model)
    with suppress(TypeError, ValueError):  # from a constant of an unknown form on, all stay nodes
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)


def compose(model: ir.Model, context: Context) -> None:
    """Composes data movement and folds constants until nothing gets cheaper any more.

    See `movement.py` and `folding.py`: what is movement of constants is a constant, and may decide other movement.
    """
    report = context.report
    for number in range(_MOST_ROUNDS):
        if number and not context.allow(f"round {number + 1}"):
            return
        result = compose_movement(model.graph, context.ranges, context.sizes, context.allow)
        report.refusals[:] = result.refusals
        report.guards = tuple(dict.fromkeys((*report.guards, *result.guards)))
        folded = fold_constants(model.graph, context.weights, context.allow)
        if not (result.rewrites or result.unfinished or folded):
            return
        clean_up(model, replace(context, pass_name=clean_up.__name__))
        first = {done.name: done.before for done in reversed(report.rewrites)}
        latest = {done.name: replace(done, before=first.get(done.name, done.before)) for done in result.rewrites}
        report.rewrites[:] = {**{done.name: done for done in report.rewrites}, **latest}.values()


def fix_targets(model: ir.Model, context: Context) -> None:
    """Makes computed Reshape targets constant; see `reshape_targets.py`."""
    fix_reshape_targets(model.graph, context.ranges, context.allow)


def reduce(model: ir.Model, context: Context) -> None:
    """Turns scatters that add or multiply at known positions into arithmetic; see `scatter_reductions.py`."""
    context.report.rewrites += expand_reductions(model.graph, context.ranges, context.allow)
    common.RemoveUnusedNodesPass()(model)


def unstack(model: ir.Model, context: Context) -> None:
    """Turns reductions over stacked axes into arithmetic on what is stacked; see `reductions_stacked.py`."""
    done, refused = unstack_reductions(model.graph, context.ranges, context.sizes, context.allow)
    context.report.rewrites += done
    context.report.refusals += refused
    common.RemoveUnusedNodesPass()(model)


def fuse(model: ir.Model, context: Context) -> None:
    """Makes one operator of what exporters have taken apart; see `fused_gelu.py`, `fused_normalization.py`."""
    context.report.rewrites += fuse_gelu(model.graph, context.allow)
    context.report.rewrites += fuse_normalization(model.graph, context.ranges, context.allow)
    common.RemoveUnusedNodesPass()(model)


def merge(model: ir.Model, context: Context) -> None:
    """Merges views that undo each other, and reductions with the views in front of them; see `views_merged.py`."""
    context.report.rewrites += merge_views(model.graph, context.ranges, context.allow)
    common.RemoveUnusedNodesPass()(model)


def fold(model: ir.Model, context: Context) -> None:
    """Folds what the passes before have left to compute on constants; see `folding.py`."""
    fold_constants(model.graph, context.weights, context.allow)


def pad(model: ir.Model, context: Context) -> None:
    """Writes shifts with a replicated border as Pads where that is faster; see `edge_pads.py`."""
    report = context.report
    found = pad_shifts(model.graph, context.ranges, context.sizes, COSTS[context.runtime], context.allow)
    report.rewrites += found.rewrites
    report.refusals += found.refusals
    report.guards = tuple(dict.fromkeys((*report.guards, *found.guards)))
    clean_up(model, replace(context, pass_name=clean_up.__name__))


def layout(model: ir.Model, context: Context) -> None:
    """Puts axes in the order that is the cheapest on the runtime; see `layout.py`.

    In another order movement may compose further, after which another order may be the cheapest.
    """
    report = context.report
    for number in range(_MOST_ROUNDS):
        if number and not context.allow(f"round {number + 1}"):
            return
        costs = COSTS[context.runtime]
        found = choose_layouts(model.graph, context.ranges, context.sizes, costs, context.allow)
        report.layouts += found.layouts
        if not found.layouts:
            report.refusals += found.refusals
            return
        clean_up(model, replace(context, pass_name=clean_up.__name__))
        refusals = list(report.refusals)
        compose(model, replace(context, pass_name=compose.__name__))
        report.refusals[:] = refusals


def order(model: ir.Model, context: Context) -> None:
    """Puts channels side by side to which the same is done; see `channel_order.py`."""
    context.report.refusals += order_channels(model.graph, context.ranges, context.allow)


def fuse_weighted(model: ir.Model, context: Context) -> None:
    """Makes weighted sums of shifted branches one node of the plugins; see `plugin_sums.py`."""
    done, refused = fuse_sums(model, context.ranges, context.allow)
    context.report.rewrites += done
    context.report.refusals += refused
    common.RemoveUnusedNodesPass()(model)


def fuse_shifted(model: ir.Model, context: Context) -> None:
    """Makes grouped spatial shifts one node of the plugins; see `plugin_shifts.py`."""
    done, refused = fuse_shifts(model, context.ranges, context.allow)
    context.report.rewrites += done
    context.report.refusals += refused
    common.RemoveUnusedNodesPass()(model)


def clean_up(model: ir.Model, context: Context) -> None:
    """Removes what nothing reads, what is computed twice, and Identity nodes."""
    if context.allow("unused nodes"):
        common.RemoveUnusedNodesPass()(model)
    if context.allow("identities"):
        remove_identities(model.graph)
    if context.allow("duplicates"):
        remove_duplicates(model.graph)
    if context.allow("unused nodes"):
        common.RemoveUnusedNodesPass()(model)


DEFAULT_PASSES: tuple[Pass, ...] = (
    prepare,
    fix_targets,
    clean_up,
    reduce,
    compose,
    clean_up,
    fuse,
    unstack,
    merge,
    fold,
    clean_up,
    pad,
    layout,
    clean_up,
    order,
    clean_up,
)
PLUGIN_PASSES: tuple[Pass, ...] = (
    prepare,
    fix_targets,
    clean_up,
    reduce,
    compose,
    clean_up,
    fuse_weighted,
    clean_up,
    fuse,
    unstack,
    merge,
    fold,
    clean_up,
    fuse_shifted,
    clean_up,
    pad,
    layout,
    clean_up,
    order,
    clean_up,
)
"""The same where plugins may compute parts: sums before they are taken apart, shifts before movement takes a form."""
REORDERING = frozenset({fuse_weighted.__name__, fuse.__name__, unstack.__name__, layout.__name__, order.__name__})
"""Passes that put sums in another order or round less often; all others compute the same numbers in the same way."""


def rewrite(
    model: ir.Model,
    ranges: Mapping[str, Dim] | None = None,
    passes: tuple[Pass, ...] | None = None,
    changes: Changes | None = None,
    runtime: Runtime = DEFAULT_RUNTIME,
) -> RewriteReport:
    """Rewrites a model in place.

    Args:
        model: The model; inputs and outputs keep their names, types and shapes.
        ranges: The sizes that named dimensions can take. A dimension without one is at least 1.
        passes: What to run, in order; `DEFAULT_PASSES` unless given.
        changes: Which changes may be made, all unless given, and where those made are kept.
        runtime: What the graph is to be fast on.

    Raises:
        RewriteError: The model's operator set is older than the rewrites know.
    """
    opset = model.graph.opset_imports.get("", _OLDEST_OPSET)
    if opset < _OLDEST_OPSET:
        raise RewriteError(
            f"the model uses opset {opset}; rewriting starts at {_OLDEST_OPSET}",
            hint="convert it first: onnx.version_converter.convert_version(model, 17)",
        )
    dims = ranges or {}
    multiples = {name: dim.multiple for name, dim in dims.items() if dim.multiple > 1}
    report = RewriteReport(runtime, nodes_before=count_nodes(model), scatters_before=count_scatters(model))
    changes = changes or Changes()
    parts = {part_of(name, multiple): (dims[name], multiple) for name, multiple in multiples.items()}
    intervals = {name: (dim.min, dim.max) for name, dim in dims.items()}
    intervals |= {name: (dim.min // multiple, dim.max // multiple) for name, (dim, multiple) in parts.items()}
    sizes = {name: dim.opt for name, dim in dims.items()}
    sizes |= {name: dim.opt // multiple for name, (dim, multiple) in parts.items()}
    weights = frozenset(model.graph.initializers)
    shown = faces(model.graph)
    with factored(model.graph, multiples):
        for run in DEFAULT_PASSES if passes is None else passes:
            if changes.allow(run.__name__):
                run(model, Context(intervals, sizes, report, weights, changes, runtime, run.__name__))
    common.NameFixPass()(model)
    restore(model.graph, shown)
    report.nodes_after, report.scatters_after = count_nodes(model), count_scatters(model)
    return report


def count_nodes(model: ir.Model) -> int:
    """Returns the number of nodes that are not Constant, subgraphs included."""
    return sum(node.op_type != "Constant" for node in model.graph.all_nodes())


def plugin_operators(model: ir.Model) -> tuple[str, ...]:
    """Returns the names of the operators of `s2deploy.ops` that a model's graph has, sorted."""
    return tuple(sorted({node.op_type for node in model.graph.all_nodes() if is_operator(node)}))


def count_scatters(model: ir.Model) -> int:
    """Returns the number of ScatterND and ScatterElements nodes, subgraphs included."""
    found = Counter(node.op_type for node in model.graph.all_nodes())
    return sum(found[op_type] for op_type in SCATTERS)
