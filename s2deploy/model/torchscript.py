"""TorchScript archives, traced or scripted: loaded on the CPU, frozen, inlined, and replayed by `Replay`."""

from __future__ import annotations

import inspect
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from s2deploy.errors import ArtifactError, SourceError, UntrustedPickleError
from s2deploy.model.replay import Replay, register, replay_class
from s2deploy.model.script_compiler import Compiler


def load(path: Path, *, trust_pickle: bool = False) -> torch.nn.Module:
    """Loads an archive and returns a module that replays its graph.

    Loading runs no Python: tensors come through torch's own C++ reader, and code is only parsed. The exception is
    a class with ``__setstate__``, which the reader interprets; such an archive must be trusted.

    Args:
        path: An existing TorchScript archive.
        trust_pickle: Whether its ``__setstate__`` methods may run.

    Raises:
        UntrustedPickleError: Loading would run code.
        ArtifactError: The archive is damaged.
        SourceError: It holds control flow or operators that cannot be replayed, named with their line.
    """
    if not trust_pickle and _runs_code_when_read(path):
        raise UntrustedPickleError(
            f"{path} holds __setstate__ methods, which run while the archive is read",
            hint="give FILE.py:FACTORY --weights STATE_DICT; only if you trust the file's origin, use --trust-pickle",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:  # torch raises RuntimeError on damage, but reads attacker-made structure first
        raise ArtifactError(
            f"{path} is not a readable TorchScript archive: {str(error).strip().splitlines()[0]}",
            hint="it may be truncated, or need operators of a package that is not imported",
        ) from error
    return replay(module)


def replay(module: torch.jit.ScriptModule) -> Replay:
    """Returns an ordinary module that runs a TorchScript module's graph operator by operator.

    Parameters and buffers keep their names; the result is in eval mode, without gradients, on the CPU.

    Raises:
        SourceError: The module has no forward, or its graph cannot be replayed.
    """
    if not hasattr(module, "forward"):
        raise SourceError("the TorchScript module has no forward", hint="script or trace the module's forward")
    signature: Any = module.forward.schema  # type: ignore[attr-defined]
    parameters = [_parameter(argument) for argument in signature.arguments[1:]]
    module.eval()
    if hasattr(module, "training"):
        # Parameters stay attributes, so that they keep their names; everything else becomes constant.
        frozen = torch._C._freeze_module(module._c, [], True, True)
        module = torch.jit._recursive.wrap_cpp_module(frozen)  # type: ignore[no-untyped-call]
    graph = module.graph.copy()
    torch._C._jit_pass_inline(graph)
    torch._C._jit_pass_constant_loop_unrolling(graph)  # type: ignore[attr-defined]
    torch._C._jit_pass_constant_propagation(graph)
    torch._C._jit_pass_dce(graph)
    compiled = Compiler(module, graph)
    first, *inputs = (value.debugName() for value in graph.inputs())
    cls = replay_class(str(module.original_name), parameters)
    replayed = cls(compiled.block, compiled.constants, inputs, first)
    register(replayed, compiled.state)
    return replayed.eval()


def _parameter(argument: Any) -> inspect.Parameter:
    default = argument.default_value if argument.has_default_value() else inspect.Parameter.empty
    return inspect.Parameter(argument.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)


def _runs_code_when_read(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            code = [name for name in archive.namelist() if name.endswith(".py")]
            return any(b"__setstate__" in archive.read(name) for name in code)
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise ArtifactError(f"{path} is damaged: {error}", hint="save or download it again") from error
