"""Whole modules pickled by ``torch.save(module, path)``: refused unless trusted, because unpickling runs code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2deploy.errors import SourceError, UntrustedPickleError, UsageError
from s2deploy.model.pickles import read_trusted, read_weights_only

if TYPE_CHECKING:
    import torch

_SAFE_WAYS = (
    "give FILE.py:FACTORY --weights STATE_DICT, or save with torch.export.save or torch.jit.save; "
    "only if you trust the file's origin, use --trust-pickle"
)
_MODULE_KEYS = ("model", "ema", "net", "network", "module")


def load(path: Path, *, trust_pickle: bool) -> torch.nn.Module:
    """Returns the module a pickle holds.

    Args:
        path: An existing file written by ``torch.save``.
        trust_pickle: Whether the file may run code, which is the only way to read a module from it.

    Raises:
        UsageError: The file holds weights, not a module.
        UntrustedPickleError: It holds more than plain data and is not trusted.
        SourceError: A class it needs is missing, or it holds something else.
        ArtifactError: It is damaged.
    """
    try:
        stored = read_weights_only(path)
    except UntrustedPickleError as error:
        if not trust_pickle:
            raise UntrustedPickleError(
                f"{path} is a pickle that holds more than weights, and unpickling it would run code from it; "
                f"{error.message.partition(': ')[2]}",
                hint=_SAFE_WAYS,
            ) from error
        stored = read_trusted(path)
    module = _module_in(stored)
    if module is None:
        raise _not_a_module(path, stored)
    return module


def _module_in(stored: Any) -> torch.nn.Module | None:
    """Returns the module itself, or the one a training checkpoint keeps under a usual name."""
    import torch

    if isinstance(stored, torch.nn.Module):
        return stored
    if isinstance(stored, Mapping):
        found = (stored.get(key) for key in _MODULE_KEYS)
        return next((value for value in found if isinstance(value, torch.nn.Module)), None)
    return None


def _not_a_module(path: Path, stored: Any) -> SourceError | UsageError:
    import torch

    if isinstance(stored, Mapping):
        return UsageError(f"{path} is a state_dict, not a model", hint=f"give FILE.py:FACTORY --weights {path}")
    kind = "a tensor" if isinstance(stored, torch.Tensor) else f"an object of type {type(stored).__name__}"
    return SourceError(f"{path} holds {kind}, not a torch.nn.Module", hint=_SAFE_WAYS)
