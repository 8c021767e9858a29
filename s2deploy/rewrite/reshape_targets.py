"""Reshape targets without arithmetic.

Before: ``Reshape(x, Concat(Shape(x)[0], 3, -1, ...))``. After: ``Reshape(x, [0, 3, -1, ...])``.
Requires: every target size is a number, or equal to the size of x on the same axis (0 stands for it), but for at
most one, which -1 stands for. Refuses where a size may be 0, for which 0 and -1 mean something else.
Preserves shape, dtype, names and values. Source: the ONNX specification of Reshape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.coordinates import Bounds, Coord, Interval, UndecidedError
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.refusals import NotMovementError
from s2deploy.rewrite.rules import RULES
from s2deploy.rewrite.rules_movement import int_attribute, reshaped


def fix_reshape_targets(graph: ir.Graph, ranges: Mapping[str, Interval]) -> int:
    """Makes computed Reshape targets constant in place and returns how many."""
    computed = [node for node in graph if node.op_type == "Reshape" and node.domain == "" and _is_computed(node)]
    if not computed:
        return 0
    facts = Interpretation(graph, ranges, RULES)
    changed = 0
    for node in computed:
        target = node.inputs[1]
        try:
            shape = facts.shape(node.inputs[0])
            allow_zero = int_attribute(node, "allowzero", 0) == 1
            sizes = reshaped(shape, facts.integers(target), allow_zero=allow_zero)
        except (NotMovementError, UndecidedError, IndexError):
            continue
        constant = constant_target(facts.bounds, shape, sizes)
        if constant is not None:
            name = f"{node.outputs[0].name}_target"
            value = ir.Value(name=name, const_value=ir.tensor(np.array(constant, dtype=np.int64), name=name))
            value.type, value.shape = ir.TensorType(ir.DataType.INT64), ir.Shape([len(constant)])
            graph.register_initializer(value)
            node.replace_input_with(1, value)
            node.attributes.pop("allowzero", None)
            changed += 1
    return changed


def _is_computed(node: ir.Node) -> bool:
    return len(node.inputs) == 2 and node.inputs[1] is not None and node.inputs[1].const_value is None


def constant_target(bounds: Bounds, shape: Shape, sizes: Sequence[Coord]) -> list[int] | None:
    """Returns the constant target that reshapes `shape` to `sizes`, or None where there is none."""
    if any(bounds.at_most(1, size) is not True for size in (*shape, *sizes)):
        return None
    target: list[int] = []
    for axis, size in enumerate(sizes):
        if isinstance(size, int):
            target.append(size)
        elif axis < len(shape) and shape[axis] == size:
            target.append(0)
        else:
            target.append(-1)
    return target if target.count(-1) <= 1 else None
