"""The operators the rewriter understands, by ONNX name."""

from __future__ import annotations

from collections.abc import Mapping

from s2deploy.rewrite import rules_indexing as indexing
from s2deploy.rewrite import rules_integers as integers
from s2deploy.rewrite import rules_movement as movement
from s2deploy.rewrite.facts import Rule

MOVEMENT: Mapping[str, Rule] = {
    "Concat": movement.concat_,
    "Expand": movement.expand,
    "Gather": indexing.gather,
    "Identity": movement.identity,
    "Pad": movement.pad,
    "Reshape": movement.reshape,
    "ScatterElements": indexing.scatter_elements,
    "ScatterND": indexing.scatter_nd,
    "SequenceAt": movement.sequence_at,
    "Slice": movement.slice_,
    "Split": movement.split,
    "SplitToSequence": movement.split_to_sequence,
    "Squeeze": movement.squeeze,
    "Transpose": movement.transpose,
    "Unsqueeze": movement.unsqueeze,
    "Where": indexing.where,
}

INTEGERS: Mapping[str, Rule] = {
    "Add": integers.elementwise(integers.add),
    "And": integers.elementwise(integers.both),
    "Cast": integers.cast,
    "CastLike": integers.cast_like,
    "ConstantOfShape": integers.constant_of_shape,
    "Div": integers.elementwise(integers.quotient),
    "Equal": integers.elementwise(integers.equal),
    "Less": integers.elementwise(integers.less),
    "LessOrEqual": integers.elementwise(integers.at_most),
    "Max": integers.elementwise(integers.larger),
    "Min": integers.elementwise(integers.smaller),
    "Mod": integers.elementwise(integers.remainder),
    "Mul": integers.elementwise(integers.multiply),
    "Neg": integers.negate,
    "NonZero": integers.non_zero,
    "Not": integers.not_,
    "Or": integers.elementwise(integers.either),
    "Range": integers.range_,
    "ReduceProd": integers.reduce_prod,
    "Shape": integers.shape,
    "Size": integers.size,
    "Sub": integers.elementwise(integers.subtract),
}

RULES: Mapping[str, Rule] = {**MOVEMENT, **INTEGERS}
SCATTERS = frozenset({"ScatterND", "ScatterElements"})
