"""What differs between TensorRT versions, all of it.

From 10 on, and in TensorRT-RTX, a network is strongly typed: its precision is the graph's. Before, the graph stays
float32 and a builder flag allows fp16; those parsers end at opset 17.
Source: the public headers of TensorRT 8.5, 8.6, 10.16 and 11.1. Only TensorRT-RTX has been run.
"""

from __future__ import annotations

from dataclasses import dataclass

from s2deploy.engine.targets import Toolchain
from s2deploy.specs import Precision, Target


@dataclass(frozen=True)
class Dialect:
    """How a toolchain wants its model.

    Attributes:
        strongly_typed: Whether the network takes its types from the graph.
        fp16_flag: Whether fp16 is a builder flag instead of a typed graph.
        newest_opset: The newest opset its parser reads; None where it reads all that exist.
    """

    strongly_typed: bool
    fp16_flag: bool
    newest_opset: int | None


def dialect_of(toolchain: Toolchain, precision: Precision) -> Dialect:
    """Returns how the toolchain wants a model of this precision."""
    if toolchain.target is Target.RTX or int(toolchain.version.partition(".")[0]) >= 10:
        return Dialect(strongly_typed=True, fp16_flag=False, newest_opset=None)
    return Dialect(strongly_typed=False, fp16_flag=precision is Precision.FP16, newest_opset=17)
