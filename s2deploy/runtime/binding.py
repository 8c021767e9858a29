"""Binds what a session is called with to the model's inputs, and checks it before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from s2deploy.errors import UsageError
from s2deploy.runtime.tensors import TensorInfo, accept, contiguous, dtype_of, is_torch
from s2deploy.specs import Dim, TensorSpec


def bind(args: Sequence[Any], kwargs: Mapping[str, Any], inputs: Sequence[TensorInfo]) -> dict[str, Any]:
    """Returns the call's values by input name.

    Raises:
        UsageError: A name is missing, unknown or given twice.
    """
    expected = ", ".join(map(str, inputs)) or "none"
    hint = f"the inputs are {expected}"
    names = [info.name for info in inputs]
    if len(args) == 1 and isinstance(args[0], Mapping):
        named = dict(args[0])
    elif len(args) > len(names):
        raise UsageError(f"{len(args)} inputs are given, the model has {len(names)}", hint=hint)
    else:
        named = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name in named:
            raise UsageError(f"input {name!r} is given twice", hint=hint)
        named[name] = value
    unknown = [name for name in named if name not in names]
    missing = [name for name in names if name not in named]
    if unknown:
        raise UsageError(f"there is no input {', '.join(map(repr, unknown))}", hint=hint)
    if missing:
        raise UsageError(f"input {', '.join(map(repr, missing))} is missing", hint=hint)
    return {name: named[name] for name in names}


def check(named: Mapping[str, Any], inputs: Sequence[TensorInfo], specs: Sequence[TensorSpec]) -> dict[str, Any]:
    """Checks values against the model and the ranges it was exported for, and makes them contiguous.

    Args:
        named: A value per input.
        inputs: The model's inputs.
        specs: The ranges its metadata declares; may be empty.

    Returns:
        Numpy arrays and torch tensors, each sharing the memory of what was given where that is contiguous.

    Raises:
        UsageError: A value is no array, or its dtype, rank or size does not fit.
    """
    declared = {spec.name: spec for spec in specs}
    sizes: dict[str, tuple[str, int]] = {}
    checked = {}
    for info in inputs:
        array = accept(info, named[info.name])
        _check_type(info, array)
        spec = declared.get(info.name)
        for axis, (wanted, size) in enumerate(zip(info.shape, array.shape, strict=True)):
            _check_fixed(info, axis, wanted, size)
            if spec is not None and len(spec.dims) == array.ndim:
                _check_range(info, axis, spec.dims[axis], size)
            if isinstance(wanted, str):
                other, known = sizes.setdefault(wanted, (info.name, size))
                if known != size:
                    raise UsageError(
                        f"dimension {wanted!r} is {known} in input {other!r} but {size} in input {info.name!r}",
                        hint="give both inputs the same size there",
                    )
        checked[info.name] = contiguous(array)
    return checked


def _check_type(info: TensorInfo, array: Any) -> None:
    dtype = dtype_of(array)
    if dtype != info.dtype and not (info.dtype == "string" and not is_torch(array) and array.dtype.kind in "OUS"):
        how = f"tensor.to(torch.{info.dtype})" if is_torch(array) else f"array.astype('{info.dtype}')"
        raise UsageError(f"input {info.name!r} is {info.dtype} but the array is {dtype}", hint=f"convert it: {how}")
    if array.ndim != len(info.shape):
        raise UsageError(
            f"input {info.name!r} has rank {len(info.shape)} ({info}) but the array has shape {tuple(array.shape)}",
            hint="add or drop axes, e.g. array[None] for a batch of one",
        )


def _check_fixed(info: TensorInfo, axis: int, wanted: int | str | None, size: int) -> None:
    if isinstance(wanted, int) and wanted != size:
        raise UsageError(
            f"input {info.name!r}: axis {axis} has size {size}, the model takes {wanted} ({info})",
            hint="give that size, or export the model with a range there: --input NAME:batch=1..64,...",
        )


def _check_range(info: TensorInfo, axis: int, dim: Dim, size: int) -> None:
    if size not in dim.sizes():
        raise UsageError(
            f"input {info.name!r}: axis {axis} has size {size}, the model was exported and proved for {dim}",
            hint="give a size in that range, or export the model with a wider one",
        )
