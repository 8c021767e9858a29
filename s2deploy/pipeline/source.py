"""A model on its way: an ONNX graph before its rewrite, and the original it must agree with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from s2deploy.specs import Dim, TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir

    from s2deploy.accuracy import Side
    from s2deploy.overlap import Overlap


@dataclass(frozen=True)
class Prepared:
    """What the stages before the rewrite have made of a source.

    Attributes:
        model: The graph, not rewritten yet.
        specs: Its inputs with the ranges to validate.
        ranges: What the rewrite may rely on, by dimension name.
        reference: The original: an ONNX file, or a function that runs it.
        reference_name: What the original is, for people.
        writes: In-place writes or scatter nodes the source has.
        overlaps: Its overlapping in-place operations.
        eager_difference: How far eager PyTorch is off; None where nothing overlaps.
        state: The buffer or parameter for each output that is a new value of one.
        open_dims: Dimensions nobody gave a range for.
        remarks: What the user should know.
    """

    model: ir.Model
    specs: tuple[TensorSpec, ...]
    ranges: dict[str, Dim]
    reference: Path | Side
    reference_name: str
    writes: int
    overlaps: tuple[Overlap, ...] = ()
    eager_difference: float | None = None
    state: Mapping[str, str] = field(default_factory=dict)
    open_dims: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
