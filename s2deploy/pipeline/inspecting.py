"""`inspect`: what a file is, without running it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2deploy import model as sources
from s2deploy.errors import InputSpecError, UsageError
from s2deploy.inspection import Inspection, ModelInspection, PlanInspection, TensorFound
from s2deploy.pipeline.arguments import AnyPath
from s2deploy.pipeline.inspecting_onnx import inspect_onnx
from s2deploy.sidecar import read_sidecar

if TYPE_CHECKING:
    import torch

_PLANS = (".plan", ".engine", ".trt")


def inspect(
    file: AnyPath,
    *,
    kwargs: Mapping[str, Any] | None = None,
    weights: AnyPath | None = None,
    trust_pickle: bool = False,
) -> Inspection:
    """Says what a file is, takes, gives, and was made from.

    Args:
        file: An ``.onnx`` file, a plan with its sidecar beside it, or a model named as for `export`.
        kwargs: Arguments of a factory.
        weights: A state_dict for a factory's module.
        trust_pickle: Whether code inside the files may run.

    Raises:
        UsageError: There is no such file, or the call is wrong.
        ArtifactError: The file is damaged, or a plan has no sidecar that belongs to it.
        S2DeployError: A model could not be loaded.
    """
    path = Path(file)
    if path.suffix in _PLANS:
        if not path.is_file():
            raise UsageError(f"{path}: no such file", hint="give a plan written by s2deploy build")
        if kwargs or weights:
            raise UsageError("--kwargs and --weights go with a factory; this is a plan", hint="drop them")
        return PlanInspection(path, read_sidecar(path))
    if path.suffix == ".onnx" and path.is_file() and not (kwargs or weights):
        return inspect_onnx(path)  # even one so damaged that its content does not tell what it is
    loaded = sources.load(
        os.fspath(file), kwargs=kwargs, weights=None if weights is None else Path(weights), trust_pickle=trust_pickle
    )
    if loaded.onnx_path is not None:
        return inspect_onnx(path)
    assert loaded.module is not None  # only ONNX has none
    return _inspect_module(loaded, loaded.module)


def _inspect_module(loaded: sources.Loaded, module: torch.nn.Module) -> ModelInspection:
    sizes: Counter[str] = Counter()
    for tensor in (*module.parameters(), *module.buffers()):
        sizes[str(tensor.dtype).removeprefix("torch.")] += tensor.numel() * tensor.element_size()
    modules = Counter(type(part).__name__ for part in module.modules() if part is not module)
    return ModelInspection(
        reference=loaded.provenance.reference,
        kind=loaded.kind,
        module=type(module).__qualname__,
        sha256=loaded.provenance.source_sha256,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        weight_bytes=dict(sizes.most_common()),
        inputs=() if loaded.program is None else _inputs_of(loaded.program),
        modules=dict(modules.most_common()),
    )


def _inputs_of(program: torch.export.ExportedProgram) -> tuple[TensorFound, ...]:
    from s2deploy.pipeline.program_inputs import specs_of_program

    try:
        specs = specs_of_program(program)
    except InputSpecError:  # a size without an upper bound
        return ()
    return tuple(
        TensorFound(
            spec.name,
            tuple(dim.name or dim.opt for dim in spec.dims),
            str(spec.dtype),
            str(spec) if spec.dynamic else None,
        )
        for spec in specs
    )
