"""Binds what a session is called with to the model's inputs, and checks it before anything runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from s2deploy.errors import UsageError
from s2deploy.feeds import Array, Feed
from s2deploy.specs import Dim, TensorSpec


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a loaded model.

    Attributes:
        name: Its name in the model.
        shape: A size per axis; a name where the size is dynamic, None where it is dynamic and has no name.
        dtype: A numpy dtype name, or ``bfloat16``.
    """

    name: str
    shape: tuple[int | str | None, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.name}:{','.join('?' if size is None else str(size) for size in self.shape)}:{self.dtype}"


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


def check(feed: Mapping[str, Any], inputs: Sequence[TensorInfo], specs: Sequence[TensorSpec]) -> Feed:
    """Checks arrays against the model and the ranges it was exported for, and makes them contiguous.

    Args:
        feed: A value per input.
        inputs: The model's inputs.
        specs: The ranges its metadata declares; may be empty.

    Raises:
        UsageError: A value is no array, or its dtype, rank or size does not fit.
    """
    declared = {spec.name: spec for spec in specs}
    sizes: dict[str, tuple[str, int]] = {}
    checked: Feed = {}
    for info in inputs:
        value = feed[info.name]
        if not isinstance(value, np.ndarray | np.generic):
            raise UsageError(
                f"input {info.name!r} is a {type(value).__name__}", hint="give a numpy array or a torch tensor"
            )
        array = np.asarray(value)
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
        checked[info.name] = np.require(array, requirements="C")
    return checked


def is_torch(value: Any) -> bool:
    """Whether the value is a torch tensor; torch is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def from_torch(tensor: Any) -> Array:
    """Returns a tensor's values as an array, bfloat16 included, which numpy alone does not have."""
    import torch

    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    if plain.dtype is torch.bfloat16:
        import ml_dtypes

        bits: Array = plain.contiguous().view(torch.int16).numpy()
        return bits.view(ml_dtypes.bfloat16)
    array: Array = plain.numpy()
    return array


def to_torch(array: Array, device: Any) -> Any:
    """Returns an array as a tensor on a torch device."""
    import torch

    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).to(device)
    return torch.from_numpy(array).to(device)


def _check_type(info: TensorInfo, array: Array) -> None:
    dtype = str(array.dtype)
    if dtype != info.dtype and not (info.dtype == "string" and array.dtype.kind in "OUS"):
        raise UsageError(
            f"input {info.name!r} is {info.dtype} but the array is {dtype}",
            hint=f"convert it: array.astype('{info.dtype}'), or tensor.to(torch.{info.dtype})",
        )
    if array.ndim != len(info.shape):
        raise UsageError(
            f"input {info.name!r} has rank {len(info.shape)} ({info}) but the array has shape {array.shape}",
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
