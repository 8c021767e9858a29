"""The operators the rewriter understands, by ONNX name."""

from __future__ import annotations

from collections.abc import Mapping

from s2deploy.rewrite import rules_elementwise as elements
from s2deploy.rewrite import rules_indexing as indexing
from s2deploy.rewrite import rules_integers as integers
from s2deploy.rewrite import rules_merged as merged
from s2deploy.rewrite import rules_movement as movement
from s2deploy.rewrite import rules_selecting as selecting
from s2deploy.rewrite.bounds import Bounds
from s2deploy.rewrite.facts import Rule

MOVEMENT: Mapping[str, Rule] = {
    "Concat": merged.merging(movement.concat_, merged.concat),
    "CenterCropPad": selecting.center_crop_pad,
    "Compress": selecting.compress,
    "Expand": merged.merging(movement.expand, merged.expand),
    "Gather": merged.merging(indexing.gather, merged.gather),
    "GatherElements": selecting.gather_elements,
    "GatherND": selecting.gather_nd,
    "Identity": movement.identity,
    "Pad": movement.pad,
    "Reshape": merged.reshape,
    "ScatterElements": indexing.scatter_elements,
    "ScatterND": indexing.scatter_nd,
    "SequenceAt": movement.sequence_at,
    "Slice": movement.slice_,
    "Split": movement.split,
    "SplitToSequence": movement.split_to_sequence,
    "Squeeze": movement.squeeze,
    "Tile": selecting.tile,
    "Transpose": movement.transpose,
    "Unsqueeze": movement.unsqueeze,
    "Where": merged.merging(indexing.where, merged.where),
}

INTEGERS: Mapping[str, Rule] = {
    "Add": elements.elementwise(elements.add),
    "And": elements.elementwise(elements.smaller),
    "Cast": integers.cast,
    "CastLike": integers.cast_like,
    "ConstantOfShape": integers.constant_of_shape,
    "Div": elements.dividing(elements.quotient),
    "Equal": elements.elementwise(elements.equal),
    "Greater": elements.elementwise(elements.more),
    "GreaterOrEqual": elements.elementwise(elements.at_least),
    "Less": elements.elementwise(elements.less),
    "LessOrEqual": elements.elementwise(elements.at_most),
    "Max": elements.elementwise(elements.larger),
    "Min": elements.elementwise(elements.smaller),
    "Mod": elements.dividing(elements.remainder),
    "Mul": elements.elementwise(elements.multiply),
    "Neg": integers.negate,
    "NonZero": integers.non_zero,
    "Not": integers.not_,
    "Or": elements.elementwise(elements.larger),
    "Range": integers.range_,
    "ReduceMax": integers.reduce_to_one(Bounds.larger),
    "ReduceMin": integers.reduce_to_one(Bounds.smaller),
    "ReduceProd": integers.reduce_to_one(lambda _, a, b: a * b),
    "ReduceSum": integers.reduce_to_one(lambda _, a, b: a + b),
    "Shape": integers.shape,
    "Size": integers.size,
    "Sub": elements.elementwise(elements.subtract),
}

RULES: Mapping[str, Rule] = {**MOVEMENT, **INTEGERS}
SCATTERS = frozenset({"ScatterND", "ScatterElements"})
