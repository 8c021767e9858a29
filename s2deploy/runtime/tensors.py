"""Arrays of any framework in and out: numpy, torch, and whatever speaks DLPack."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from s2deploy.errors import S2DeployError, UsageError
from s2deploy.feeds import Array

_CPU = 1  # DLPack's kDLCPU


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


def is_torch(value: Any) -> bool:
    """Whether the value is a torch tensor; torch is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def accept(info: TensorInfo, value: Any) -> Any:
    """Returns what an input was given as a numpy array or torch tensor, which shares its memory.

    Args:
        info: The input.
        value: A numpy array, torch tensor, or array of another framework that speaks DLPack.

    Raises:
        UsageError: It is none of these.
    """
    if is_torch(value):
        return value.detach().resolve_conj().resolve_neg()
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    if not hasattr(value, "__dlpack_device__"):
        raise UsageError(
            f"input {info.name!r} is a {type(value).__name__}",
            hint="give a numpy array, a torch tensor, or an array that speaks DLPack",
        )
    try:
        if value.__dlpack_device__()[0] == _CPU and info.dtype != "bfloat16":
            return np.from_dlpack(value)
        import torch.utils.dlpack

        return torch.utils.dlpack.from_dlpack(value)
    except Exception as error:  # every framework has errors of its own for what it cannot hand over
        raise UsageError(
            f"input {info.name!r}, a {type(value).__name__}, cannot be taken over by DLPack: {error}",
            hint="convert it to a numpy array or a torch tensor",
        ) from error


def give_back(outputs: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns outputs as arrays of the framework the inputs came from, where it says how (`__array_namespace__`).

    Args:
        outputs: Numpy arrays or torch tensors.
        given: What the session was called with.
    """
    foreign = next((v for v in given.values() if not is_torch(v) and not isinstance(v, np.ndarray | np.generic)), None)
    if foreign is None or not hasattr(foreign, "__array_namespace__"):
        return dict(outputs)
    take = foreign.__array_namespace__().from_dlpack
    return {name: take(output) for name, output in outputs.items()}


def dtype_of(value: Any) -> str:
    """Returns the dtype of an array or tensor by numpy's name."""
    return str(value.dtype).removeprefix("torch.")


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Returns numpy's dtype of that name, ``bfloat16`` included."""
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, name, name))


def contiguous(value: Any) -> Any:
    """Returns an array or tensor whose elements lie in order, itself where they do."""
    return value.contiguous() if is_torch(value) else np.require(value, requirements="C")


def from_torch(tensor: Any) -> Array:
    """Returns a tensor's values as an array, bfloat16 and 8-bit floats included, which numpy alone does not have.

    Raises:
        S2DeployError: There are no arrays of its dtype.
    """
    import ml_dtypes
    import torch

    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    foreign = getattr(ml_dtypes, dtype_of(plain), None) if plain.is_floating_point() else None
    if foreign is not None:
        bits: Array = plain.contiguous().view(torch.int16 if plain.element_size() == 2 else torch.uint8).numpy()
        return bits.view(foreign)
    try:
        array: Array = plain.numpy()
    except TypeError as error:
        raise S2DeployError(
            f"there are no arrays of {plain.dtype}", hint="let forward return another dtype, e.g. with .float()"
        ) from error
    return array


def to_torch(array: Array, device: Any) -> Any:
    """Returns an array as a tensor on a torch device."""
    import torch

    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).to(device)
    return torch.from_numpy(array).to(device)


def new_tensor(like: Any, shape: tuple[int, ...], dtype: str) -> Any:
    """Returns an uninitialised tensor on the device of another one."""
    import torch

    return like.new_empty(shape, dtype=getattr(torch, dtype))


def current_stream(tensor: Any) -> int:
    """Returns torch's current CUDA stream on a tensor's device."""
    import torch

    return int(torch.cuda.current_stream(tensor.device).cuda_stream)
