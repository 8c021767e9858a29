"""Rewrites of ONNX graphs: data movement is understood, composed, and written down as cheaply as it can be.

`DEFAULT_PASSES` is the order in which they run; `rewrite` runs them on a model in place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import onnx_ir as ir
from onnx_ir.passes import common

from s2deploy.errors import RewriteError
from s2deploy.ops import op_named
from s2deploy.rewrite.changes import Change, Changes, Withdrawal
from s2deploy.rewrite.context import Context, Pass, RewriteReport
from s2deploy.rewrite.layout import Layout
from s2deploy.rewrite.movement import Rewrite
from s2deploy.rewrite.multiples import factored, part_of
from s2deploy.rewrite.outputs import faces, restore
from s2deploy.rewrite.passes import DEFAULT_PASSES, PLUGIN_PASSES, REORDERING, clean_up
from s2deploy.rewrite.refusals import Refusal
from s2deploy.rewrite.rules import SCATTERS
from s2deploy.rewrite.runtime_costs import DEFAULT_RUNTIME
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
_IN_FUNCTION = "it is in a function with operators of another version than the model's"


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
    report.refusals += [Refusal.of(node, _IN_FUNCTION) for node in _scatters_in_functions(model)]
    common.NameFixPass()(model)
    restore(model.graph, shown)
    report.nodes_after, report.scatters_after = count_nodes(model), count_scatters(model)
    return report


def count_nodes(model: ir.Model) -> int:
    """Returns the number of nodes that are not Constant, subgraphs included."""
    return sum(node.op_type != "Constant" for node in model.graph.all_nodes())


def plugin_operators(model: ir.Model) -> tuple[str, ...]:
    """Returns the names of the operators of `s2deploy.ops` that a model's graph has, sorted."""
    found = (op_named(node.domain, node.op_type) for node in model.graph.all_nodes())
    return tuple(sorted({op.name for op in found if op is not None}))


def count_scatters(model: ir.Model) -> int:
    """Returns the number of ScatterND and ScatterElements nodes, those of subgraphs and functions included."""
    found = Counter(node.op_type for node in model.graph.all_nodes())
    return sum(found[op_type] for op_type in SCATTERS) + len(_scatters_in_functions(model))


def _scatters_in_functions(model: ir.Model) -> list[ir.Node]:
    return [node for body in model.functions.values() for node in body.all_nodes() if node.op_type in SCATTERS]
