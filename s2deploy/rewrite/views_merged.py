"""Views that undo each other, and reductions of views.

Before: ``Reshape(Reshape(x))``, ``Squeeze(Unsqueeze(x))``, ``ReduceSum(Reshape(x, (b, h*w, c)), 1)``.
After: x itself or one Reshape of it, ``ReduceSum(x, (1, 2))``.
Requires: known shapes. Refuses where the new view would have to compute its shape, where something else reads the old
view anyway, and reductions of a part of what a Reshape has merged.
Preserves: every element and its position, names and types. A reduction reduces the same numbers, in an order that is
the runtime's own: NaN, Inf, overflow and -0.0 are as they were, a floating-point sum may differ by rounding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import onnx_ir as ir

from s2deploy.rewrite.coordinates import Interval
from s2deploy.rewrite.distribution import term_of
from s2deploy.rewrite.elementwise import VIEWS
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.movement import Rewrite
from s2deploy.rewrite.reductions_nodes import reduced_by
from s2deploy.rewrite.reshape_targets import is_plain
from s2deploy.rewrite.rules import RULES
from s2deploy.rewrite.terms import Leaf, Reduced, Term, View, reduced, viewed
from s2deploy.rewrite.terms_lower import TermLowering


def merge_views(
    graph: ir.Graph, ranges: Mapping[str, Interval], allow: Callable[[str], bool] = lambda name: True
) -> list[Rewrite]:
    """Merges views in place; nodes that nothing reads any more are left for a clean-up.

    Args:
        graph: The graph, in topological order.
        ranges: Smallest and largest size of named dimensions.
        allow: Asked with a tensor's name right before it is replaced.
    """
    candidates = [node for node in graph if _reads_view(node)]
    if not candidates:
        return []
    facts = Interpretation(graph, ranges, RULES)
    lowering = TermLowering(facts)
    done: list[Rewrite] = []
    for node in candidates:
        value = node.outputs[0]
        if facts.is_arithmetic(value):
            continue
        term = _merged(node, facts)
        if term is None or not allow(value.name or ""):
            continue
        count, name = len(lowering.added), value.name or ""
        lowering.substitute(value, lowering.lower(term, node), node)
        source = node.metadata_props.get("s2deploy.source")
        chain = Counter([node.op_type, *(one.op_type for one in _views_before(node))])
        done.append(Rewrite(name, dict(chain), dict(Counter(lowering.added[count:])), source))
    return done


def _merged(node: ir.Node, facts: Interpretation) -> Term | None:
    """Returns what a node gives in terms of what its view is one of, None where that would not be better."""
    value = node.outputs[0]
    shape = facts.known_shape(value)
    if shape is None:
        return None
    if node.op_type in VIEWS:
        term = term_of(facts, value)
        if term is None or isinstance(term, Leaf):
            return None if term is None or term.value is value else term
        alone = all(len(one.outputs[0].uses()) == 1 for one in _views_before(node))
        return term if alone and isinstance(term, View) and is_plain(facts.bounds, term.of.shape, term.shape) else None
    axes, data = reduced_by(node, facts), node.inputs[0]
    whole = None if data is None else term_of(facts, data)
    if not axes or whole is None or not isinstance(whole, View):
        return None
    term = viewed(reduced(node.op_type, whole, axes), shape)
    core = term.of if isinstance(term, View) else term
    if not isinstance(core, Reduced) or not isinstance(core.of, Leaf):
        return None
    kept = tuple(1 if axis in core.axes else size for axis, size in enumerate(core.of.shape))
    return term if term is core or term.shape == kept else None


def _reads_view(node: ir.Node) -> bool:
    return (
        node.domain == "" and (node.op_type in VIEWS or node.op_type.startswith("Reduce")) and bool(_views_before(node))
    )


def _views_before(node: ir.Node) -> list[ir.Node]:
    found: list[ir.Node] = []
    value = node.inputs[0] if node.inputs else None
    while value is not None:
        producer = value.producer()
        if (
            producer is None
            or producer.op_type not in VIEWS
            or producer.domain != ""
            or producer.graph is not node.graph
        ):
            break
        found.append(producer)
        value = producer.inputs[0]
    return found
