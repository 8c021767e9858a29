"""From a PyTorch module to an ONNX model without scatters: capture, then translation."""

from s2deploy.exporter.baked import check_program, remarks_on
from s2deploy.exporter.capture import Captured, capture
from s2deploy.exporter.settling import Doubt
from s2deploy.exporter.state import check_state, state_of, state_remarks
from s2deploy.exporter.translate import to_onnx

__all__ = [
    "Captured",
    "Doubt",
    "capture",
    "check_program",
    "check_state",
    "remarks_on",
    "state_of",
    "state_remarks",
    "to_onnx",
]
