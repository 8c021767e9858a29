"""The passes, and the order they run in; each is a few lines around a file that opens with its algebra."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import onnx_ir as ir
from onnx_ir.passes import common

from s2deploy.rewrite.channel_order import order_channels
from s2deploy.rewrite.context import Context, Pass
from s2deploy.rewrite.contractions import expand_einsums
from s2deploy.rewrite.duplicates import remove_duplicates
from s2deploy.rewrite.edge_pads import pad_shifts
from s2deploy.rewrite.folding import fold_constants
from s2deploy.rewrite.fourier import multiply_transforms
from s2deploy.rewrite.fused_gelu import fuse_gelu
from s2deploy.rewrite.fused_normalization import fuse_normalization
from s2deploy.rewrite.gathered_rows import gather_rows
from s2deploy.rewrite.layout import choose_layouts
from s2deploy.rewrite.linear_parts import split_maps
from s2deploy.rewrite.movement import Rewrite, compose_movement
from s2deploy.rewrite.opsets import means_the_same
from s2deploy.rewrite.outputs import remove_identities
from s2deploy.rewrite.plugin_functions import is_function_of_operator
from s2deploy.rewrite.plugin_shifts import fuse_shifts
from s2deploy.rewrite.plugin_sums import fuse_sums
from s2deploy.rewrite.pooled_linear import pool_first
from s2deploy.rewrite.reductions_stacked import unstack_reductions
from s2deploy.rewrite.refusals import Refusal
from s2deploy.rewrite.reshape_targets import fix_reshape_targets
from s2deploy.rewrite.runtime_costs import COSTS
from s2deploy.rewrite.scatter_reductions import expand_reductions
from s2deploy.rewrite.views_merged import merge_views

_MOST_ROUNDS = 6
_CONSTANT_INITIALIZERS = 4


def prepare(model: ir.Model, _: Context) -> None:
    """Inlines local functions of the model's opsets and makes constants initializers.

    Functions that say what the operators of `s2deploy.ops` compute stay.
    IR version 3 knows initializers as inputs only, where runtimes take them for constants; from 4 on they do not.
    """
    if model.ir_version < _CONSTANT_INITIALIZERS:
        model.ir_version = _CONSTANT_INITIALIZERS
        model.graph.inputs[:] = [value for value in model.graph.inputs if not value.is_initializer()]
    if model.functions:
        own = dict(model.opset_imports)
        for body in model.functions.values():
            if means_the_same(body, own):
                body.opset_imports.update({name: own.get(name, n) for name, n in body.opset_imports.items()})
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
    others = tuple(report.refusals)
    for number in range(_MOST_ROUNDS):
        if number and not context.allow(f"round {number + 1}"):
            return
        result = compose_movement(model.graph, context.ranges, context.sizes, context.allow)
        report.refusals[:] = dict.fromkeys((*others, *result.refusals))
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


def permute(model: ir.Model, context: Context) -> None:
    """Makes Einsum that moves and computes nothing a Transpose; see `contractions.py`."""
    _keep(model, context, expand_einsums(model.graph, context.ranges, context.allow, computing=False))


def contract(model: ir.Model, context: Context) -> None:
    """Makes Einsum of one or two tensors products and sums; see `contractions.py`."""
    _keep(model, context, expand_einsums(model.graph, context.ranges, context.allow))


def reduce(model: ir.Model, context: Context) -> None:
    """Turns scatters that add or multiply at known positions into arithmetic; see `scatter_reductions.py`."""
    context.report.rewrites += expand_reductions(model.graph, context.ranges, context.allow)
    common.RemoveUnusedNodesPass()(model)


def unstack(model: ir.Model, context: Context) -> None:
    """Turns reductions over stacked axes into arithmetic on what is stacked; see `reductions_stacked.py`."""
    _keep(model, context, unstack_reductions(model.graph, context.ranges, context.sizes, context.allow))


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
        _compose_on(model, context)


def _compose_on(model: ir.Model, context: Context) -> None:
    """Composes what a pass has brought together; what was refused before is what is reported."""
    clean_up(model, replace(context, pass_name=clean_up.__name__))
    refusals = list(context.report.refusals)
    compose(model, replace(context, pass_name=compose.__name__))
    context.report.refusals[:] = refusals


def transform(model: ir.Model, context: Context) -> None:
    """Makes Fourier transforms of known lengths products with matrices; see `fourier.py`.

    What moves their real and imaginary parts together and apart composes further.
    """
    before = len(context.report.rewrites)
    _keep(model, context, multiply_transforms(model.graph, context.ranges, context.allow))
    if len(context.report.rewrites) > before:
        _compose_on(model, context)


def pool(model: ir.Model, context: Context) -> None:
    """Sums what is mapped instead of what it is mapped to, where that is less; see `pooled_linear.py`."""
    costs = COSTS[context.runtime]
    _keep(model, context, pool_first(model.graph, context.ranges, context.sizes, costs, context.allow))


def order(model: ir.Model, context: Context) -> None:
    """Puts channels side by side to which the same is done; see `channel_order.py`."""
    context.report.refusals += order_channels(model.graph, context.ranges, context.allow)


def split(model: ir.Model, context: Context) -> None:
    """Computes channels that are read apart apart; see `linear_parts.py`."""
    costs = COSTS[context.runtime]
    _keep(model, context, (split_maps(model.graph, context.ranges, context.sizes, costs, context.allow), ()))


def gather(model: ir.Model, context: Context) -> None:
    """Picks pieces of one tensor in another order at once; see `gathered_rows.py`."""
    costs = COSTS[context.runtime]
    _keep(model, context, (gather_rows(model.graph, context.ranges, context.sizes, costs, context.allow), ()))


def fuse_weighted(model: ir.Model, context: Context) -> None:
    """Makes weighted sums of shifted branches one node of the plugins; see `plugin_sums.py`."""
    _keep(model, context, fuse_sums(model, context.ranges, context.allow))


def fuse_shifted(model: ir.Model, context: Context) -> None:
    """Makes grouped spatial shifts one node of the plugins; see `plugin_shifts.py`."""
    _keep(model, context, fuse_shifts(model, context.ranges, context.allow))


def _keep(model: ir.Model, context: Context, found: tuple[Sequence[Rewrite], Sequence[Refusal]]) -> None:
    """Reports what was replaced and refused, and removes what nothing reads any more."""
    done, refused = found
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


_UNDERSTAND: tuple[Pass, ...] = (prepare, fix_targets, clean_up, permute, contract, reduce, compose, clean_up)
_SIMPLIFY: tuple[Pass, ...] = (transform, fuse, unstack, merge, fold, clean_up)
_ARRANGE: tuple[Pass, ...] = (layout, pad, clean_up, pool, order, split, gather, clean_up)

DEFAULT_PASSES = (*_UNDERSTAND, *_SIMPLIFY, *_ARRANGE)
"""What runs, in order."""
PLUGIN_PASSES = (*_UNDERSTAND, fuse_weighted, clean_up, *_SIMPLIFY, fuse_shifted, clean_up, *_ARRANGE)
"""The same where plugins may compute parts: sums before they are taken apart, shifts before movement takes a form."""
REORDERING = frozenset(
    one.__name__ for one in (contract, transform, fuse_weighted, fuse, unstack, layout, pool, order, split)
)
"""Passes that put sums in another order or round less often; all others compute the same numbers in the same way."""
