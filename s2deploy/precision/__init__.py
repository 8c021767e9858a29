"""Precision as a property of the graph: fp16, bf16 and int8 typed ONNX models, and what they cost.

`typed` is the entry point; TF32 is a builder's flag and leaves the graph alone.
"""

from s2deploy.precision.apply import Typed, typed
from s2deploy.precision.cost import Cost, OutputCost
from s2deploy.precision.graph import HEAVY_OPERATORS
from s2deploy.precision.overflow import Overflow

__all__ = ["HEAVY_OPERATORS", "Cost", "OutputCost", "Overflow", "Typed", "typed"]
