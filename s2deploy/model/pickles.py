"""Reading what ``torch.save`` wrote: without running code from it, or, for trusted files, with it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from s2deploy.errors import ArtifactError, SourceError, UntrustedPickleError
from s2deploy.model.factory import importable


def read_weights_only(path: Path) -> Any:
    """Returns what ``torch.save`` wrote, on the CPU, never running code.

    Raises:
        UntrustedPickleError: The pickle needs more than tensors and plain data; the message names what.
        ArtifactError: The file is damaged.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UntrustedPickleError(
            f"{path} cannot be read without running code from it: {_reason(error)}",
            hint="save plain weights with torch.save(module.state_dict(), path) or as .safetensors; "
            "only if you trust its origin, use --trust-pickle",
        ) from error
    except Exception as error:  # torch raises RuntimeError, EOFError, KeyError, ... on damaged files
        raise ArtifactError(
            f"{path} is damaged: {_reason(error)}", hint="it may be truncated; save or download it again"
        ) from error


def read_trusted(path: Path) -> Any:
    """Returns what ``torch.save`` wrote, on the CPU, running whatever code the file names.

    The file's folder and the working folder are importable, as they were where it was saved.

    Raises:
        SourceError: A module or class it needs is missing, or its code raised.
    """
    import torch

    try:
        with importable(Path.cwd()), importable(path.parent):
            return torch.load(path, map_location="cpu", weights_only=False)
    except ModuleNotFoundError as error:
        raise SourceError(
            f"{path} needs the Python module {error.name!r}, which cannot be imported",
            hint=f"put its source beside the file or into the working folder, or install {error.name!r}",
        ) from error
    except AttributeError as error:
        raise SourceError(
            f"{path} needs a class that is not there: {error}",
            hint="a class pickled from a script lives in __main__; give FILE.py:FACTORY --weights STATE_DICT instead",
        ) from error
    except Exception as error:  # whatever the pickled code raises
        raise SourceError(
            f"{path} could not be unpickled: {type(error).__name__}: {error}",
            hint="load it with the versions it was saved with and save it as a state_dict",
        ) from error


def _reason(error: BaseException) -> str:
    """Returns the line of torch's long message that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Unsupported" in line or "GLOBAL" in line]
    return (telling or lines or [type(error).__name__])[0]
