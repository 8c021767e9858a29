"""The optimization profile of a dynamic model: min, opt and max shape per input, from the export's own ranges."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from s2deploy.errors import ArtifactError, UsageError
from s2deploy.feeds import sizes_at
from s2deploy.sidecar import ProfileShapes
from s2deploy.specs import TensorSpec, parse_inputs

if TYPE_CHECKING:
    import onnx_ir as ir

_INPUTS_KEY = "s2deploy.inputs"


def make_profile(model: ir.Model, specs: Sequence[TensorSpec]) -> dict[str, ProfileShapes]:
    """Returns the shapes each dynamic input can take; nothing for a static model.

    Args:
        model: The model to build.
        specs: The ranges of its inputs.

    Raises:
        UsageError: A dynamic input has no range, a range names no input, or a range does not fit the model.
    """
    inputs = {value.name: value for value in model.graph.inputs if value.name not in model.graph.initializers}
    by_name = {spec.name: spec for spec in specs}
    unknown = [name for name in by_name if name not in inputs]
    if unknown:
        raise UsageError(
            f"there is no input {', '.join(map(repr, unknown))} in the model",
            hint=f"its inputs are {', '.join(map(str, inputs)) or 'none'}",
        )
    profile: dict[str, ProfileShapes] = {}
    for name, value in inputs.items():
        assert name is not None
        shape = _shape(name, value)
        spec = by_name.get(name)
        if spec is not None:
            _check_fits(name, shape, spec)
        if all(size is not None for size in shape):
            continue
        if spec is None:
            ranges = ",".join(f"dim{axis}=1..8..64" if size is None else str(size) for axis, size in enumerate(shape))
            raise UsageError(
                f"input {name!r} is dynamic ({_text(shape)}) and has no range to build for",
                hint=f'say which sizes it takes: --input "{name}:{ranges}"',
            )
        profile[name] = ProfileShapes(*(spec.shape(sizes_at([spec], which)) for which in ("min", "opt", "max")))
    return profile


def exported_ranges(model: ir.Model) -> tuple[TensorSpec, ...]:
    """Returns the ranges an exported model declares in its metadata; none where it was not written by s2deploy.

    Raises:
        ArtifactError: The metadata is damaged.
    """
    text = model.metadata_props.get(_INPUTS_KEY)
    if text is None:
        return ()
    try:
        return parse_inputs(json.loads(text))
    except (ValueError, TypeError, UsageError) as error:
        raise ArtifactError(f"the model's {_INPUTS_KEY} is damaged: {error}", hint="export the model again") from error


def _shape(name: str, value: ir.Value) -> list[int | None]:
    if value.shape is None:
        raise UsageError(
            f"input {name!r} has no shape at all, not even a rank", hint="export the model with shaped inputs"
        )
    return [size if isinstance(size, int) else None for size in value.shape]


def _check_fits(name: str, shape: Sequence[int | None], spec: TensorSpec) -> None:
    fits = len(shape) == len(spec.dims) and all(
        size is None or (dim.min == dim.max == size) for size, dim in zip(shape, spec.dims, strict=True)
    )
    if not fits:
        raise UsageError(
            f"the range {spec} does not fit input {name!r} of shape {_text(shape)}",
            hint="give one size or range per axis, and the model's own size where it is fixed",
        )


def _text(shape: Sequence[int | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape) or "scalar"
