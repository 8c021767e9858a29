"""Whether kernels may compute a model's operators of the s2deploy plugins: what was asked for, and what is there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from s2deploy import onnx_file
from s2deploy.engine.kernels import (
    ENVIRONMENT,
    LIBRARY,
    KernelLibrary,
    find_library,
    is_kernel_library,
    places,
    read_library,
)
from s2deploy.engine.targets import Toolchain
from s2deploy.errors import UsageError
from s2deploy.options import BuildOptions
from s2deploy.pipeline.arguments import AnyPath
from s2deploy.precision.functions import have_functions, operators

AUTO, ALWAYS = "auto", "always"
_EXPORT = "export the model with s2deploy export --plugin"
_FIND = f"name it, --plugin build/{LIBRARY}, or set {ENVIRONMENT}; plugins/README.md tells how to build it"


@dataclass(frozen=True)
class Asked:
    """What the ``plugins`` of a build ask for.

    Attributes:
        others: Libraries of other plugins, which the model needs.
        library: The library of the s2deploy plugins; None where it is not named.
        auto: Whether to look for it.
        always: Whether to use its kernels whatever is faster.
    """

    others: tuple[Path, ...] = ()
    library: Path | None = None
    auto: bool = False
    always: bool = False

    @staticmethod
    def of(plugins: Sequence[AnyPath]) -> Asked:
        """Tells words and libraries apart.

        Raises:
            UsageError: Two libraries of the s2deploy plugins are named.
        """
        texts = [os.fspath(plugin) for plugin in plugins]
        paths = [Path(text) for text in texts if text not in (AUTO, ALWAYS)]
        ours = [path for path in paths if is_kernel_library(path)]
        if len(ours) > 1:
            raise UsageError(f"{ours[0]} and {ours[1]} hold the same plugins", hint="give one of them")
        others = tuple(path for path in paths if path not in ours)
        return Asked(others, ours[0] if ours else None, AUTO in texts, ALWAYS in texts)


@dataclass(frozen=True)
class Choice:
    """What is to be built.

    Attributes:
        options: How; with a library of kernels where they may be used.
        operators: How many operators of the plugins the model has.
        insisted: Whether the kernels are used whatever is faster.
        reason: Why the operators' functions are written out; empty where kernels may be used, or nothing can use them.
    """

    options: BuildOptions
    operators: dict[str, int]
    insisted: bool = False
    reason: str = ""


def choose(model: Path, options: BuildOptions, asked: Asked, toolchain: Toolchain, *, here: bool = True) -> Choice:
    """Settles what is to be built of a model.

    Args:
        model: The ONNX file.
        options: How to build it, without libraries.
        asked: What the user wants of the plugins.
        toolchain: What builds it.
        here: Whether that is on this machine, so that a library's version can be held against it.

    Raises:
        UsageError: Kernels are insisted on and cannot be used, or the library named is not one for this TensorRT.
        ArtifactError: The model is damaged.
    """
    options = replace(options, plugins=asked.others)
    source = onnx_file.read(model)
    found, plain = operators(source), have_functions(source)
    if not found:
        return _without_operators(model, options, asked)
    if not toolchain.family.runs_plugins:
        reason = f"{toolchain.family.title} runs no plugins"
        if asked.always or not plain:
            raise UsageError(
                f"{reason}, so that no kernels can compute {_counted(found)}",
                hint="leave --plugin always out: the functions of the operators are built instead"
                if plain
                else "build it with full TensorRT, or " + _EXPORT,
            )
        return Choice(options, found, reason=reason)
    library, missing = _library(model, asked, toolchain if here else None)
    if library is None:
        if asked.always:
            raise UsageError(f"there are no kernels for {_counted(found)}: {missing}", hint=_FIND)
        return Choice(options, found, reason=missing)
    return Choice(replace(options, kernels=library.path), found, insisted=asked.always or not plain)


def _without_operators(model: Path, options: BuildOptions, asked: Asked) -> Choice:
    if asked.always:
        raise UsageError(f"{model} has no operator that the kernels could compute", hint=_EXPORT)
    if asked.library is not None:  # loaded as any library is: the model may make use of it in a way of its own
        options = replace(options, plugins=(*options.plugins, asked.library))
    return Choice(options, {}, reason="the model has no operators of the s2deploy plugins" if asked.auto else "")


def _library(model: Path, asked: Asked, toolchain: Toolchain | None) -> tuple[KernelLibrary | None, str]:
    """Returns the library to use, or why there is none."""
    if asked.library is not None:
        library = read_library(asked.library)
        unfit = library.unfit(toolchain)
        if unfit is not None:
            raise UsageError(unfit, hint="build plugins/ with the headers of this TensorRT: plugins/README.md")
        return library, ""
    if not (asked.auto or asked.always):
        return None, "no --plugin names the library of their kernels, and --plugin auto would look for it"
    found, against = find_library(model, toolchain)
    looked = f"none of {', '.join(map(str, places(model)))} is there"
    return found, "; ".join(against) or looked


def _counted(found: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in found.items())
