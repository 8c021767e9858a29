"""What users call the pipeline with, as values the stages take."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2deploy import model as sources
from s2deploy.errors import UsageError
from s2deploy.report import Reporter, format_bytes
from s2deploy.specs import TensorSpec, Tolerance, parse_inputs, with_value_ranges

if TYPE_CHECKING:
    import torch

AnyPath = str | os.PathLike[str]


def specs_of(inputs: Sequence[str | TensorSpec], value_ranges: Sequence[str]) -> tuple[TensorSpec, ...]:
    """Returns the inputs as specs; nothing, if none are given, because an ONNX file brings its own.

    Raises:
        UsageError: One text is given where a list of them is needed.
        InputSpecError: A text cannot be meant.
    """
    for name, texts in (("inputs", inputs), ("value_ranges", value_ranges)):
        require_list(name, texts)
    parsed = parse_inputs([str(item) for item in inputs])
    specs = [item if isinstance(item, TensorSpec) else spec for item, spec in zip(inputs, parsed, strict=True)]
    return with_value_ranges(specs, value_ranges) if specs else ()


def require_list(name: str, texts: Collection[object]) -> None:
    """Checks that an argument is not a single text, which Python would take apart into letters.

    Raises:
        UsageError: It is.
    """
    if isinstance(texts, str):
        raise UsageError(f"{name} is one text, not a list", hint=f"write {name}=[{texts!r}]")


def tolerance_of(atol: float | None, rtol: float | None, default: Tolerance | None = None) -> Tolerance:
    """Returns a tolerance; what is not given is the default's.

    Raises:
        UsageError: A value is negative or not finite.
    """
    default = default or Tolerance()
    return Tolerance(default.atol if atol is None else atol, default.rtol if rtol is None else rtol)


def load(
    model: AnyPath | torch.nn.Module,
    kwargs: Mapping[str, Any] | None,
    weights: AnyPath | None,
    trust_pickle: bool,
    reporter: Reporter,
) -> sources.Loaded:
    """Loads what the user named, or takes a copy of the module the user has.

    Raises:
        UsageError: A module comes with arguments of a factory, or as `sources.load`.
        S2DeployError: As `sources.load`.
    """
    with reporter.stage("load", "loading the model") as stage:
        if isinstance(model, str | os.PathLike):
            loaded = sources.load(
                os.fspath(model),
                kwargs=kwargs,
                weights=None if weights is None else Path(weights),
                trust_pickle=trust_pickle,
            )
        elif kwargs or weights:
            raise UsageError("a module takes neither kwargs nor weights", hint="load its weights before")
        else:
            loaded = sources.from_module(_require_module(model))
        stage.detail = _describe(loaded)
    return loaded


def read_paths(model: object, *others: AnyPath | None) -> list[Path]:
    """Returns the files that a call names, as far as that can be told without loading anything."""
    paths = [Path(other) for other in others if other is not None]
    if isinstance(model, str | os.PathLike):
        text = os.fspath(model)
        location = text.rpartition(":")[0]
        paths += [Path(name) for name in (text, location) if name and os.path.exists(name)]
    return paths


def weight_bytes(loaded: sources.Loaded) -> int:
    """Returns how large a model's weights are, in bytes."""
    if loaded.module is not None:
        tensors = [*loaded.module.parameters(), *loaded.module.buffers()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    assert loaded.onnx_path is not None
    return loaded.onnx_path.stat().st_size


def _require_module(model: object) -> torch.nn.Module:
    from torch import nn

    if isinstance(model, nn.Module):
        return model
    what = f"the class {model.__name__}" if isinstance(model, type) else f"of type {type(model).__name__}"
    raise UsageError(f"the model is {what}, not a torch.nn.Module", hint="give a module, e.g. Model(), or name a file")


def _describe(loaded: sources.Loaded) -> str:
    kind = loaded.kind.replace("_", " ")
    if loaded.module is None:
        return f"{kind} file, {format_bytes(weight_bytes(loaded))}"
    count = sum(parameter.numel() for parameter in loaded.module.parameters())
    parameters = f"{count / 1e6:.1f} M" if count >= 100_000 else str(count)
    return f"{kind}, {parameters} parameters, {format_bytes(weight_bytes(loaded))}"
