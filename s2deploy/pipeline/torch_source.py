"""From a PyTorch model to a graph to be rewritten, and the model under clone semantics as the reference."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from s2deploy.artifacts import temporary
from s2deploy.errors import InputSpecError, S2DeployError, UsageError
from s2deploy.feeds import Array, Feed, random_feed
from s2deploy.pipeline.source import Prepared
from s2deploy.report import Reporter
from s2deploy.rewrite import count_nodes, count_scatters
from s2deploy.runtime.tensors import from_torch, to_torch
from s2deploy.specs import TensorSpec, named_dims

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

    from s2deploy.accuracy import Side
    from s2deploy.exporter import Doubt
    from s2deploy.model import Loaded
    from s2deploy.overlap import Overlap

_OVERLAPPING = 3


def torch_side(
    module: torch.nn.Module, specs: Sequence[TensorSpec], outputs: Sequence[str], state: Mapping[str, str]
) -> Callable[[Feed], Feed]:
    """Returns a function that runs a module under clone semantics.

    Args:
        module: A module in eval mode.
        specs: Its inputs in forward's order.
        outputs: Names for its output tensors, in the order torch flattens them, and for the new values of its state.
        state: The buffer or parameter for each output that is a new value of one.
    """
    from torch.utils import _pytree as pytree

    from s2deploy.overlap import reference_with_state

    changed = [state[name] for name in outputs if name in state]

    def run(feed: Feed) -> Feed:
        leaves = pytree.tree_leaves(reference_with_state(module, arguments(feed, specs), changed))
        arrays = [from_torch(leaf) for leaf in leaves if hasattr(leaf, "detach")]
        return dict(zip(outputs, arrays, strict=True))

    return run


def arguments(feed: Mapping[str, Array], specs: Sequence[TensorSpec]) -> tuple[torch.Tensor, ...]:
    """Returns a feed as forward's positional arguments."""
    return tuple(to_torch(feed[spec.name], "cpu") for spec in specs)


def prepare_torch(loaded: Loaded, specs: Sequence[TensorSpec], opset: int, reporter: Reporter) -> Prepared:
    """Captures a PyTorch model and translates it to ONNX without scatters.

    Args:
        loaded: The model.
        specs: Its inputs in forward's order.
        opset: The opset to write.
        reporter: Told about the stages.

    Raises:
        UsageError: The opset cannot be written, or the number of inputs is not what forward takes.
        ValidationError: The model raised in forward.
        ExportError: The model cannot be captured or translated.
    """
    from s2deploy.exporter import check_program, check_state, state_of, state_remarks, to_onnx
    from s2deploy.exporter.translate import OPSETS
    from s2deploy.pipeline.writes import count_writes

    if opset not in OPSETS:
        raise UsageError(
            f"opset {opset} cannot be written for a PyTorch model", hint=f"use --opset {OPSETS[0]} to {OPSETS[-1]}"
        )
    module = loaded.module
    assert module is not None  # only an ONNX source has none
    if loaded.program is not None:
        check_program(loaded.program, specs)
        check_state(loaded.program)
    else:
        _check_arity(module, specs)
    overlaps, difference = _report_overlaps(module, specs, reporter)
    with reporter.stage("capture", "capturing the model with torch.export") as stage:
        program, remarks, doubt = _capture(loaded, specs)
        writes = count_writes(program)
        stage.detail = f"{len(program.graph.nodes)} graph nodes, {writes} in-place writes"
        stage.notes += remarks
    with reporter.stage("translate", "translating to ONNX") as stage:
        model = to_onnx(program, specs, opset=opset)
        stage.detail = f"opset {opset}, {count_nodes(model)} nodes, {count_scatters(model)} scatters"
        stage.notes += state_remarks(model)
    names = [str(value.name) for value in model.graph.outputs]
    state = state_of(model)
    reference = torch_side(module, specs, names, state)
    if doubt is not None:
        dispel(doubt, model, reference, specs, reporter)
    return Prepared(
        model=model,
        specs=tuple(specs),
        ranges=named_dims(specs),
        reference=reference,
        reference_name="PyTorch under clone semantics",
        writes=writes,
        overlaps=overlaps,
        eager_difference=difference,
        state=state,
        remarks=(*remarks, *state_remarks(model)),
    )


def dispel(doubt: Doubt, model: ir.Model, reference: Side, specs: Sequence[TensorSpec], reporter: Reporter) -> None:
    """Runs a translated model at the sizes that torch.export does not vouch for.

    Raises:
        ExportError: It fails or gives other outputs at one of them.
        ArtifactError: The folder for temporary files is full.
    """
    from s2deploy import onnx_file
    from s2deploy.accuracy import LazyFeed, compare, record
    from s2deploy.runtime import load

    feeds = (
        LazyFeed("ends", dict(sizes), lambda sizes=sizes: random_feed(specs, sizes))  # type: ignore[misc]
        for sizes in doubt.sizes
    )
    with (
        reporter.stage("ends", "trying the ends of the ranges") as stage,
        temporary() as folder,
    ):
        path = folder / "model.onnx"
        onnx_file.write(model.clone(), path)
        try:
            with load(path) as session:
                comparison = compare(record(reference, feeds), session)
        except S2DeployError as error:
            raise doubt.error from error
        if not comparison.passed:
            raise doubt.error
        shown = ", ".join(" ".join(f"{name}={size}" for name, size in sizes.items()) for sizes in doubt.sizes)
        stage.detail = f"torch.export does not vouch for {shown}; run there, the outputs agree"


def _capture(
    loaded: Loaded, specs: Sequence[TensorSpec]
) -> tuple[torch.export.ExportedProgram, tuple[str, ...], Doubt | None]:
    from s2deploy.exporter import capture
    from s2deploy.exporter.baked import remarks_on

    if loaded.program is not None:
        return loaded.program, remarks_on(loaded.program), None
    assert loaded.module is not None
    captured = capture(loaded.module, specs)
    return captured.program, captured.remarks, captured.doubt


def _report_overlaps(
    module: torch.nn.Module, specs: Sequence[TensorSpec], reporter: Reporter
) -> tuple[tuple[Overlap, ...], float | None]:
    from s2deploy.overlap import eager_difference, find_overlaps

    with reporter.stage("overlaps", "looking for overlapping in-place operations") as stage:
        args = arguments(random_feed(specs, _small_sizes(specs)), specs)
        overlaps = find_overlaps(module, args)
        if not overlaps:
            stage.detail = "none"
            return (), None
        difference = eager_difference(module, args)
        count = sum(overlap.count for overlap in overlaps)
        stage.detail = (
            f"{count} overlapping in-place operation{'' if count == 1 else 's'} on {len(overlaps)} "
            f"line{'' if len(overlaps) == 1 else 's'}; eager PyTorch leaves the result undefined:"
        )
        stage.notes += map(_describe, overlaps)
        off = f"by up to {difference.max_abs:.3g}" if difference.failure is None else f"it raises {difference.failure}"
        stage.notes.append(
            f"eager PyTorch differs from clone semantics here {off} ({difference.threads} threads); the export follows "
            "clone semantics: every right-hand side is read before anything is written"
        )
        return overlaps, difference.max_abs


def _small_sizes(specs: Sequence[TensorSpec]) -> dict[str, int]:
    """Returns sizes at which a shift still overlaps and a run takes no longer than it must."""
    return {
        name: next((size for size in dim.sizes() if size >= _OVERLAPPING), dim.max)
        for name, dim in named_dims(specs).items()
    }


def _describe(overlap: Overlap) -> str:
    path = Path(overlap.file)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    times = "" if overlap.count == 1 else f"  ({overlap.count} times)"
    return f"{shown}:{overlap.line}  {overlap.source}{times}"


def _check_arity(module: torch.nn.Module, specs: Sequence[TensorSpec]) -> None:
    """Checks the number of inputs against forward's signature, where it has one that tells."""
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*specs)
    except TypeError as error:
        raise InputSpecError(
            f"forward{signature} cannot be called with {len(specs)} inputs: {error}",
            hint="give one --input for each argument it needs, in its order",
        ) from error
