"""Any source of a model, loaded safely: user code, exported programs, TorchScript, pickles, ONNX.

`load` is the only entry. Nothing in a file runs unless the caller says the file is trusted, except the user's
own factory, which is code by intention.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from s2deploy.artifacts import sha256
from s2deploy.errors import UsageError
from s2deploy.model.formats import Format, detect, require_file

if TYPE_CHECKING:
    import torch

Kind = Literal["factory", "exported_program", "torchscript", "pickle", "onnx"]

__all__ = ["Kind", "Loaded", "Provenance", "from_module", "load"]


@dataclass(frozen=True)
class Provenance:
    """Where a model came from; enough to load it again with `load`.

    Attributes:
        reference: MODEL as the user gave it.
        source: The resolved source file; None where a factory's module has none.
        source_sha256: SHA-256 of that file.
        weights: The resolved weights file, if one was given.
        weights_sha256: SHA-256 of that file.
        kwargs: The factory's keyword arguments.
    """

    reference: str
    source: Path | None
    source_sha256: str | None
    weights: Path | None = None
    weights_sha256: str | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """A model ready to be captured.

    Attributes:
        kind: What the source was.
        module: The module on the CPU, in eval mode, without gradients; for an exported program the module that
            runs it; None for ONNX.
        program: The exported program, where the source was one.
        onnx_path: The ONNX file, where the source was one.
        provenance: Where it came from.
    """

    kind: Kind
    module: torch.nn.Module | None
    program: torch.export.ExportedProgram | None
    onnx_path: Path | None
    provenance: Provenance


def load(
    reference: str,
    *,
    kwargs: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    trust_pickle: bool = False,
) -> Loaded:
    """Loads a model from user code or from a file.

    Args:
        reference: ``path/file.py:FACTORY``, ``pkg.mod:FACTORY``, or a ``.pt2``, TorchScript, pickled ``.pt`` or
            ``.onnx`` file. A file's content decides what it is, not its suffix.
        kwargs: Keyword arguments of a factory.
        weights: A state_dict for a factory's module.
        trust_pickle: Whether code inside the files may run.

    Raises:
        UsageError: The reference names nothing, is a state_dict, or options do not go with it.
        UntrustedPickleError: Loading would run code from the file.
        FactoryError: The user's code raised or did not return a module.
        WeightsError: The weights do not fit.
        SourceError: The file holds something that cannot be loaded, named in the message.
        ArtifactError: A file is damaged, empty or unreadable.
    """
    kwargs = dict(kwargs or {})
    path = Path(reference)
    _, colon, name = reference.rpartition(":")
    if colon and not path.exists() and _is_factory_name(name):
        return _load_factory(reference, kwargs, None if weights is None else Path(weights), trust_pickle)
    if path.suffix == ".py" and path.is_file():
        raise UsageError(f"{reference} names no factory", hint=f"write {reference}:CLASS_OR_FUNCTION")
    require_file(path, "model")
    for option, given in (("--kwargs", kwargs), ("--weights", weights)):
        if given:
            raise UsageError(f"{option} goes with a factory; {reference} is a file", hint=f"drop {option}")
    form = detect(path)
    provenance = Provenance(reference, path.resolve(), sha256(path))
    if form is Format.ONNX:
        return Loaded("onnx", None, None, path.resolve(), provenance)
    if form is Format.SAFETENSORS:
        raise UsageError(f"{reference} holds weights, not a model", hint=f"give FILE.py:FACTORY --weights {reference}")
    if form is Format.EXPORTED_PROGRAM:
        from s2deploy.model.exported_program import load as load_program

        program, module = load_program(path, trust_pickle=trust_pickle)
        return Loaded("exported_program", module, program, None, provenance)
    if form is Format.TORCHSCRIPT:
        from s2deploy.model import torchscript

        return Loaded("torchscript", torchscript.load(path, trust_pickle=trust_pickle), None, None, provenance)
    from s2deploy.model import pickled

    return Loaded("pickle", _for_inference(pickled.load(path, trust_pickle=trust_pickle)), None, None, provenance)


def from_module(module: torch.nn.Module) -> Loaded:
    """Takes a copy of a module that the caller has built.

    Args:
        module: Any module; it stays as it is.
    """
    copied = _for_inference(copy.deepcopy(module))
    return Loaded("factory", copied, None, None, Provenance(type(module).__qualname__, None, None))


def _load_factory(reference: str, kwargs: Mapping[str, Any], weights: Path | None, trust_pickle: bool) -> Loaded:
    from s2deploy.model import factory
    from s2deploy.model import weights as state

    module, source = factory.build(reference, kwargs)
    module = _unwrap(module)
    if weights is not None:
        state.apply(module, weights, trust_pickle=trust_pickle)
    provenance = Provenance(
        reference,
        source,
        None if source is None else sha256(source),
        None if weights is None else weights.resolve(),
        None if weights is None else sha256(weights),
        kwargs,
    )
    return Loaded("factory", _for_inference(module), None, None, provenance)


def _is_factory_name(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _unwrap(module: torch.nn.Module) -> torch.nn.Module:
    """Takes off data-parallel and compile wrappers, which torch.export cannot see through."""
    import torch

    parallel = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
    while True:
        if isinstance(module, parallel):
            module = cast("torch.nn.Module", module.module)
        elif isinstance(getattr(module, "_orig_mod", None), torch.nn.Module):
            module = cast("torch.nn.Module", module._orig_mod)
        else:
            return module


def _for_inference(module: torch.nn.Module) -> torch.nn.Module:
    """Returns the module on the CPU in eval mode without gradients; TorchScript becomes its replay."""
    import torch

    module = _unwrap(module)
    if isinstance(module, torch.jit.ScriptModule):
        from s2deploy.model import torchscript

        return torchscript.replay(module)
    return module.cpu().eval().requires_grad_(False)
