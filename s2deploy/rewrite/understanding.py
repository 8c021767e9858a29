"""The facts about a graph, for sizes of 2 and more where that tells more and the cases of 1 can be proven."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from s2deploy.rewrite.cases import Cases, Original
from s2deploy.rewrite.cones import cone_of
from s2deploy.rewrite.coordinates import Interval, UndecidedError, names
from s2deploy.rewrite.emit import emit
from s2deploy.rewrite.expressions import Expression
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.merged import Movement
from s2deploy.rewrite.refusals import BROKE_DOWN
from s2deploy.rewrite.rules import RULES, SCATTERS


def understand(
    graph: ir.Graph, ranges: Mapping[str, Interval], plain: Interpretation
) -> tuple[Interpretation, Cases | None]:
    """Returns the facts, those for sizes of 2 and more if they tell more and the cases of 1 can be proven."""
    inputs = {name for value in graph.inputs for size in plain.known_shape(value) or () for name in names(size)}
    open_to_one = [name for name in sorted(inputs & plain.undecided) if ranges.get(name, (1, None))[0] == 1]
    cases = Cases(graph, ranges, RULES, open_to_one)
    if not cases:
        return plain, None
    bold = Interpretation(graph, cases.assumed, RULES, SCATTERS)
    scattered = {node for node in graph if node.op_type in SCATTERS and node in bold.moved}
    for node in graph:
        for value in node.outputs if node in bold.moved else ():
            if bold.is_arithmetic(value) or not bold.is_read(value) or not scattered & set(cone_of(bold, node)):
                continue
            tensor = bold.understood(value)
            try:
                expression = None if tensor is None else written_form(bold, tensor)
            except UndecidedError:
                return plain, None
            if expression is None or not cases.hold(expression, value_of(value)):
                return plain, None
    return bold, cases


def written_form(facts: Interpretation, tensor: Movement) -> Expression:
    """Returns the cheapest expression of a tensor; a defect costs this tensor alone, as nothing is changed yet."""
    try:
        return emit(facts.bounds, tensor, facts.source_shape)
    except (UndecidedError, RecursionError):
        raise
    except Exception as error:
        raise UndecidedError(f"{BROKE_DOWN} ({type(error).__name__}: {error})") from error


def value_of(value: ir.Value) -> Original:
    """Returns what asks facts for the tiling of a value."""
    return lambda facts: facts.understood(value)
