"""The operators that s2deploy adds to ONNX: what they mean, defined once.

Domain ``s2deploy``, version 1: ``SpatialShift``, ``ShiftSum`` and ``ShiftSumPool``. The schemas and the numpy
references here are the definition; kernels, TensorRT plugins and function bodies in ONNX files are tested against them.
"""

from s2deploy.ops.configuration import MAX_EXTENT, MAX_OFFSET, MAX_SEGMENTS, Border, Configuration, Shift
from s2deploy.ops.reference import shift_sum, shift_sum_pool, spatial_shift
from s2deploy.ops.schema import (
    DOMAIN,
    OPS,
    SHIFT_SUM,
    SHIFT_SUM_POOL,
    SPATIAL_SHIFT,
    VERSION,
    Attribute,
    Op,
    Tensor,
    op_named,
)

__all__ = [
    "DOMAIN",
    "MAX_EXTENT",
    "MAX_OFFSET",
    "MAX_SEGMENTS",
    "OPS",
    "SHIFT_SUM",
    "SHIFT_SUM_POOL",
    "SPATIAL_SHIFT",
    "VERSION",
    "Attribute",
    "Border",
    "Configuration",
    "Op",
    "Shift",
    "Tensor",
    "op_named",
    "shift_sum",
    "shift_sum_pool",
    "spatial_shift",
]
