"""How finely a model computes, which limits what can be asked of a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx_ir as ir

from s2deploy.specs import Tolerance

_RESOLUTIONS: Mapping[int | None, float] = {ir.DataType.FLOAT16: 2.0**-10, ir.DataType.BFLOAT16: 2.0**-7}
_STEPS = 4
_OF_TRANSFORMS = 2e-7
"""By length: what onnxruntime's DFT of a length that is no power of two was measured to be off by, for its 4 steps."""


def resolution_of(model: ir.Model) -> float:
    """Returns the distance from 1 to the next value of the coarsest type of 16 bits in a model, 0 without one."""
    return max((_RESOLUTIONS[dtype] for dtype in _types(model) if dtype in _RESOLUTIONS), default=0.0)


def resolution_of_transforms(model: ir.Model) -> float:
    """Returns how finely onnxruntime computes the Fourier transforms of a model, 0 without one that is off.

    Its twiddle factors of lengths that are no powers of two lose precision with the length, which products with
    matrices do not (`benchmarks/fourier.py`). Of an axis the model does not say; the longest counts.
    """
    lengths = [
        size
        for node in model.graph.all_nodes()
        if node.op_type == "DFT" and node.domain == ""
        for value in (node.inputs[0], node.outputs[0])
        if value is not None and value.shape is not None
        for size in value.shape[:-1]
        if isinstance(size, int) and size & (size - 1)
    ]
    return _OF_TRANSFORMS * max(lengths, default=0)


def usual_tolerance(resolution: float) -> Tolerance:
    """Returns what differs at most where nobody says otherwise: the default, or some steps of a coarser type."""
    usual = Tolerance()
    return Tolerance(max(usual.atol, _STEPS * resolution), max(usual.rtol, resolution))


def _types(model: ir.Model) -> Iterator[int | None]:
    """Yields the element types of a model, as numbers; those of casts may be none that ONNX has."""
    for graph in model.graphs():
        yield from (value.dtype for value in (*graph.inputs, *graph.initializers.values()))
    bodies: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for body in bodies:
        for node in body.all_nodes():
            yield from (value.dtype for value in node.outputs)
            to = node.attributes.get("to") if node.op_type == "Cast" else None
            if to is not None and not to.is_ref() and to.type == ir.AttributeType.INT:
                yield to.as_int()
