"""The movement that only leads to one value, and goes with it when that value is replaced."""

from __future__ import annotations

import onnx_ir as ir

from s2deploy.rewrite.facts import Interpretation


def cone_of(facts: Interpretation, node: ir.Node, *, through_arithmetic: bool = False) -> list[ir.Node]:
    """Returns the movement nodes that only lead to this one, as far as values that exist anyway."""
    found = [node]
    seen = {node}
    for current in found:
        for value in current.inputs:
            producer = value.producer() if value is not None else None
            if producer is None or producer in seen or producer not in facts.moved:
                continue
            assert value is not None
            if facts.is_read(value) or (facts.is_arithmetic(value) and not through_arithmetic):
                continue
            seen.add(producer)
            found.append(producer)
    return found
