"""The model as a family of TensorRT wants it: its types, its opset, and what its parser misreads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from s2deploy.engine.adapt import adapt
from s2deploy.engine.families import Family
from s2deploy.engine.lowering import lower
from s2deploy.options import PrecisionOptions
from s2deploy.precision import to_fp16
from s2deploy.specs import Precision

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Typed:
    """A model ready to be built.

    Attributes:
        model: The model.
        changed: Whether it differs from the file it was read from.
        kept: Names of the nodes that stay in float32 because that was asked for.
        remarks: What else the user should know.
    """

    model: ir.Model
    changed: bool
    kept: tuple[str, ...]
    remarks: tuple[str, ...]


def typed_for(model: ir.Model, family: Family, options: PrecisionOptions) -> Typed:
    """Returns the model as the family wants it; the one given is consumed."""
    from onnx_ir.passes.common import ShapeInferencePass

    remarks: tuple[str, ...] = ()
    changed = False
    if options.precision is Precision.FP16 and family.strongly_typed:
        half = to_fp16(model, keep_io=not options.fp16_io)
        model, remarks, changed = half.model, half.remarks, True
    if family.newest_opset is not None and model.opset_imports.get("", 0) > family.newest_opset:
        model, changed = lower(model), True
    changed |= adapt(model)
    ShapeInferencePass(strict_mode=False)(model)
    return Typed(model, changed, (), remarks)
