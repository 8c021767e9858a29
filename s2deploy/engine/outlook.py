"""What can be said of a build beforehand: by the parser that is here, and by what is known of every family."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from s2deploy import onnx_file
from s2deploy.artifacts import temporary
from s2deploy.engine.diagnosis import explain
from s2deploy.engine.lowering import lower
from s2deploy.engine.preparing import Prepared, request_for
from s2deploy.engine.process import run_build
from s2deploy.engine.products import wider
from s2deploy.engine.targets import Toolchain
from s2deploy.engine.typed import Typed
from s2deploy.errors import BuildError, UsageError
from s2deploy.options import BuildOptions
from s2deploy.specs import Precision

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class ParserCheck:
    """What TensorRT's ONNX parser says of the model as it would be built.

    Attributes:
        parser: Whose parser, with its version.
        failures: What it does not take, with its reason and the line of PyTorch where that is known.
        products: How many matrix products and convolutions it read in each type.
    """

    parser: str
    failures: tuple[str, ...]
    products: dict[str, int]


@dataclass(frozen=True)
class FamilyOutlook:
    """What is known of a family of TensorRT and the build.

    Attributes:
        name: The family with its version, e.g. ``TensorRT 8.5``.
        opset: The opset its parser would be given.
        types_from: ``graph`` where the types of the graph decide, ``flags`` where the builder's flags do.
        flags: The builder's flags and settings.
        refusal: Why it would not build; None where nothing is known against it.
    """

    name: str
    opset: int
    types_from: str
    flags: tuple[str, ...]
    refusal: str | None = None


def check_parser(prepared: Prepared, options: BuildOptions, toolchain: Toolchain, model_path: Path) -> ParserCheck:
    """Lets the parser of a TensorRT that is here read the model, in a process of its own.

    Raises:
        ArtifactError: The folder for temporary files is full.
    """
    typed, precision = prepared.typed, options.typing.precision
    parser = f"{toolchain.family.title} {toolchain.version}"
    with temporary() as folder:
        network_path = model_path
        if typed.changed:
            network_path = folder / "model.onnx"
            onnx_file.write(typed.model, network_path)
        request = request_for(prepared, options, toolchain, network_path, None)
        try:
            answer = run_build(request, folder, typed.model)
        except BuildError as error:
            return ParserCheck(parser, (str(error),), {})
    failures = [explain(refusal, typed.model) for refusal in answer.refusals]
    failures += [
        f"{product.node!r} would compute in {product.dtype}, which is wider than {precision.value}"
        for product in wider(answer.products, precision, typed.kept)
    ]
    return ParserCheck(parser, tuple(failures), dict(Counter(product.dtype for product in answer.products)))


def outlooks(
    source: ir.Model, typed: Typed, options: BuildOptions, toolchains: Iterable[Toolchain]
) -> tuple[FamilyOutlook, ...]:
    """Returns what is known of each family.

    Args:
        source: The model as it was read.
        typed: The model as one of the families wants it.
        options: How it would be built.
        toolchains: The families, each in one version.
    """
    return tuple(_outlook(source, typed, options, toolchain) for toolchain in toolchains)


def _outlook(source: ir.Model, typed: Typed, options: BuildOptions, toolchain: Toolchain) -> FamilyOutlook:
    family = toolchain.family
    opset = source.opset_imports.get("", 0)
    refusal = None
    if family.newest_opset is not None and opset > family.newest_opset:
        opset = family.newest_opset
        # quantised, the graph of every family is the same but for the opset
        quantised = options.typing.precision is Precision.INT8
        try:
            lower((typed.model if quantised else source).clone())
        except BuildError as error:
            refusal = error.message
    try:
        family.check(options)
    except UsageError as error:
        refusal = error.message
    flagged = not family.strongly_typed and options.typing.precision is not Precision.FP32
    return FamilyOutlook(family.name, opset, "flags" if flagged else "graph", family.flags(options), refusal)
