"""Reductions over a stacked axis, as arithmetic on what is stacked.

Before: ``ReduceSum(Concat(Unsqueeze(x1), Unsqueeze(x2)), axis)``, and the same of elementwise functions of stacks, such
as ``ReduceSum(weights * stack)``; also ReduceMean, ReduceMax, ReduceMin and ReduceProd, several reductions in a row,
and with a Reshape or Transpose in between that keeps the stacked axis apart.
After: ``x1 + x2``, ``w1 * x1 + w2 * x2``, ``Max(x1, x2)``; pieces are reduced over the other axes first. No stack.
Requires: known shapes, at most 16 pieces, for a mean pieces of equal size.
Refuses: where something else reads the stack, where an operand as large as the stack is none itself, and where the
arithmetic would cost more than the stack.
Preserves: shape, dtype, names, integers (which wrap around alike). Floating-point sums and products are taken in
another order: they differ by rounding, and overflow or cancel where their order makes them. Inf and NaN stay what they
are unless a sum overflows in one order alone; a sum of zeros may be 0.0 for -0.0. Max and Min give NaN where a piece
holds one; what ReduceMax makes of NaN is left open by ONNX. Weights of a Softmax below 1e-30 become 1e-30 in float32.
Source: the ONNX operator specifications.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.coordinates import Interval
from s2deploy.rewrite.distribution import Distribution, ObstacleError
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.lower import CannotLowerError
from s2deploy.rewrite.movement import Rewrite
from s2deploy.rewrite.reductions_nodes import Reduction, reduction_of
from s2deploy.rewrite.refusals import Refusal
from s2deploy.rewrite.rules import RULES
from s2deploy.rewrite.terms import Number, Term, applied, reduced, viewed, walk
from s2deploy.rewrite.terms_lower import TermLowering, node_cost, term_cost

_COMBINED_BY = {"ReduceSum": "Add", "ReduceMean": "Add", "ReduceMax": "Max", "ReduceMin": "Min", "ReduceProd": "Mul"}
_AT_ONCE = {"Add": "Sum", "Max": "Max", "Min": "Min"}
"""Operators of any number of floating-point operands, for more than two."""
_MOST_PIECES = 16


@dataclass(frozen=True)
class _Match:
    """A reduction over a stack, and what it amounts to.

    Attributes:
        reduction: The reduction.
        term: Its result without the stack.
        nodes: The nodes that it does not need any more.
    """

    reduction: Reduction
    term: Term
    nodes: frozenset[ir.Node]


def unstack_reductions(
    graph: ir.Graph,
    ranges: Mapping[str, Interval],
    sizes: Mapping[str, int],
    allow: Callable[[str], bool] = lambda name: True,
) -> tuple[list[Rewrite], list[Refusal]]:
    """Rewrites reductions over stacks in place; nodes that nothing reads any more are left for a clean-up.

    Args:
        graph: The graph, in topological order.
        ranges: Smallest and largest size of named dimensions.
        sizes: Typical size of named dimensions, for the cost.
        allow: Asked with the name of a reduction's output right before it is replaced, with all of the same stack.
    """
    if not any(node.op_type in _COMBINED_BY for node in graph):
        return [], []
    facts = Interpretation(graph, ranges, RULES)
    refusals: list[Refusal] = []
    matches = _matches(facts, sizes, refusals)
    lowering = TermLowering(facts)
    done: list[Rewrite] = []
    for family in _families(matches):
        reason = _objection(family, facts, sizes)
        if reason is not None:
            refusals += [_refusal(match.reduction.node, reason) for match in family]
        elif allow(family[0].reduction.output.name or ""):
            done += _replace(family, lowering, refusals)
    return done, refusals


def _matches(facts: Interpretation, sizes: Mapping[str, int], refusals: list[Refusal]) -> list[_Match]:
    """Returns the reductions over stacks, in order; those that cannot be rewritten become refusals."""
    found: list[_Match] = []
    seen: set[ir.Node] = set()
    for node in facts.graph:
        if node.op_type not in _COMBINED_BY or node.domain != "" or node in seen:
            continue
        reduction = reduction_of(node, facts)
        if reduction is None or len(facts.shape(reduction.data)) < 2:
            continue
        seen |= set(reduction.chain)
        try:
            match = _match(reduction, facts, sizes)
        except ObstacleError as obstacle:
            refusals.append(_refusal(node, str(obstacle)))
        except RecursionError:
            refusals.append(_refusal(node, "it lies too deep"))
        else:
            found += [] if match is None else [match]
    return found


def _match(reduction: Reduction, facts: Interpretation, sizes: Mapping[str, int]) -> _Match | None:
    taken = Distribution(facts, sizes, reduction.data, reduction.op_type)
    for axis in reduction.axes:
        pieces = taken.pieces(reduction.data, axis)
        if pieces is None or len(pieces) < 2:
            continue
        if len(pieces) > _MOST_PIECES:
            raise ObstacleError(f"{len(pieces)} tensors are stacked, more than {_MOST_PIECES}")
        taken_apart = [taken.piece(reduction.data, axis, index, pieces) for index in range(len(pieces))]
        parts = [reduced(reduction.op_type, one, reduction.axes) for one in taken_apart]
        term = viewed(_combined(reduction.op_type, parts, pieces), facts.shape(reduction.output))
        return _Match(reduction, term, frozenset({*taken.nodes, *reduction.chain}))
    return None


def _combined(op_type: str, parts: Sequence[Term], pieces: Shape) -> Term:
    """Returns what the reductions of the pieces amount to together."""
    operator = _COMBINED_BY[op_type]
    if len(parts) > 2 and operator in _AT_ONCE and parts[0].dtype.is_floating_point():
        total = _apply(_AT_ONCE[operator], *parts)
    else:
        total = parts[0]
        for one in parts[1:]:
            total = _apply(operator, total, one)
    if op_type != "ReduceMean":
        return total
    if any(size != pieces[0] for size in pieces):
        raise ObstacleError("the mean is one of pieces of different sizes")
    return _apply("Div", total, Number(float(len(parts)), total.dtype))


def _apply(operator: str, *operands: Term) -> Term:
    found = applied(operator, operands, operands[0].dtype)
    if found is None:
        raise ObstacleError("the pieces have different shapes")
    return found


def _families(matches: Sequence[_Match]) -> list[list[_Match]]:
    """Returns the matches in groups that have nodes in common: a stack goes when all that reads it does."""
    families: list[list[_Match]] = []
    for match in matches:
        related = [family for family in families if any(other.nodes & match.nodes for other in family)]
        families = [family for family in families if family not in related]
        families.append([*(one for family in related for one in family), match])
    return families


def _objection(family: Sequence[_Match], facts: Interpretation, sizes: Mapping[str, int]) -> str | None:
    """Returns why a stack should stay."""
    nodes = set[ir.Node]().union(*(match.nodes for match in family))
    results = {match.reduction.output for match in family}
    for node in sorted(nodes, key=lambda one: one.outputs[0].name or ""):
        for value in node.outputs:
            if value not in results and (value.is_graph_output() or any(use.node not in nodes for use in value.uses())):
                return f"something else reads {value.name}, so that the stack stays"
    seen: set[Term] = set()
    terms = [term for match in family for term in walk(match.term, seen)]
    before = sum(node_cost(node, facts, sizes) for node in nodes)
    after = sum(term_cost(term, sizes) for term in terms)
    return None if after < before else "the stack is so small that the arithmetic would cost more"


def _replace(family: Sequence[_Match], lowering: TermLowering, refusals: list[Refusal]) -> list[Rewrite]:
    done: list[Rewrite] = []
    before = Counter(node.op_type for node in set[ir.Node]().union(*(match.nodes for match in family)))
    for match in family:
        count, last = len(lowering.added), match.reduction.chain[-1]
        try:
            new = lowering.lower(match.term, last)
        except CannotLowerError as refusal:
            refusals.append(_refusal(last, str(refusal)))
            continue
        source = last.metadata_props.get("s2deploy.source")
        name = match.reduction.output.name or ""
        done.append(Rewrite(name, dict(before), dict(Counter(lowering.added[count:])), source))
        lowering.substitute(match.reduction.output, new, last)
        before = Counter()
    return done


def _refusal(node: ir.Node, reason: str) -> Refusal:
    return Refusal.of(node, reason)
