"""`export`: load, report overlaps, capture, translate, rewrite, prove, write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2deploy import onnx_file
from s2deploy.artifacts import check_output, scratch
from s2deploy.errors import UsageError
from s2deploy.feeds import Feed, check_feed, load_feed, specs_from_feed
from s2deploy.metadata import Metadata, installed_versions
from s2deploy.model import Loaded, Provenance
from s2deploy.pipeline.arguments import AnyPath, load, read_paths, specs_of, tolerance_of, weight_bytes
from s2deploy.pipeline.onnx_source import opset_of, prepare_onnx
from s2deploy.pipeline.proof import Proof
from s2deploy.pipeline.resolution import resolution_of, resolution_of_transforms, usual_tolerance
from s2deploy.pipeline.source import Prepared
from s2deploy.pipeline.withdrawing import Attempt
from s2deploy.pipeline.writing import rewrite_and_write
from s2deploy.report import Reporter
from s2deploy.results import ExportResult
from s2deploy.rewrite import DEFAULT_PASSES, DEFAULT_RUNTIME, PLUGIN_PASSES, plugin_operators
from s2deploy.runtime import Worker
from s2deploy.specs import Runtime, TensorSpec, Tolerance, with_value_ranges

if TYPE_CHECKING:
    import torch

DEFAULT_OPSET = 20


def export(
    model: AnyPath | torch.nn.Module,
    output: AnyPath,
    *,
    inputs: Sequence[str | TensorSpec] = (),
    data: AnyPath | None = None,
    value_ranges: Sequence[str] = (),
    kwargs: Mapping[str, Any] | None = None,
    weights: AnyPath | None = None,
    trust_pickle: bool = False,
    opset: int | None = None,
    target_runtime: str | Runtime = DEFAULT_RUNTIME,
    plugin: bool = False,
    validate: bool = True,
    atol: float | None = None,
    rtol: float | None = None,
    reporter: Reporter | None = None,
) -> ExportResult:
    """Exports a model to a clean ONNX file and proves it.

    Args:
        model: ``path/file.py:factory``, ``pkg.mod:factory``, a file, or a module.
        output: The ONNX file to write.
        inputs: ``NAME:DIM,DIM,...[:DTYPE]`` texts or specs in forward's order; an ONNX file's own shapes by default.
        data: An ``.npz`` of inputs to prove the file on, instead of random ones.
        value_ranges: ``NAME=LO..HI`` for inputs that random numbers would break.
        kwargs: Arguments of a factory.
        weights: A state_dict for a factory's module.
        trust_pickle: Whether code inside the files may run.
        opset: The opset to write, 20 by default; an ONNX file keeps its own.
        target_runtime: What the file is to be fast on; it runs anywhere.
        plugin: Whether shifts and weighted sums of shifted branches become operators of the s2deploy plugins, each with
            a function that any runtime of ONNX functions, such as onnxruntime, computes instead.
        validate: Whether to prove the file before it is written.
        atol: See `Tolerance`; four steps of the type where the model computes in 16 bits.
        rtol: See `Tolerance`.
        reporter: Told about every stage.

    Returns:
        What was found and written. Where the outputs differ, `passed` is false and nothing was written.

    Raises:
        UsageError: The call is wrong; nothing was started.
        S2DeployError: A stage failed; nothing was written.
    """
    output = Path(output)
    reporter = reporter or Reporter()
    tolerance_of(atol, rtol)
    runtime = _runtime_of(target_runtime)
    given = specs_of(inputs, value_ranges)
    feed = None if data is None else load_feed(Path(data))
    check_output(output, read_paths(model, weights, data))
    if output.suffix != ".onnx":
        raise UsageError(f"the output {output} is not named .onnx", hint=f"write -o {output}.onnx")
    passes = PLUGIN_PASSES if plugin else DEFAULT_PASSES
    loaded = load(model, kwargs, weights, trust_pickle, reporter)
    check_output(output, _sources(loaded.provenance), needed_bytes=weight_bytes(loaded))
    with scratch(output) as folder, Worker(folder) as worker:
        prepared = _prepare(loaded, given, value_ranges, feed, opset, worker, reporter)
        _check_weights(prepared, output)
        resolution = resolution_of(prepared.model)
        if isinstance(prepared.reference, Path):
            resolution = max(resolution, resolution_of_transforms(prepared.model))
        tolerance = tolerance_of(atol, rtol, usual_tolerance(resolution))
        if feed is not None:
            check_feed(feed, prepared.specs)
        proof = None
        if validate:
            worker.start()
            proof = Proof(
                prepared.reference,
                worker,
                folder,
                prepared.specs,
                feed,
                tolerance,
                strict=True,
                resolution=resolution,
                open_dims=prepared.open_dims,
            )

        def describe(attempt: Attempt) -> Metadata:
            return _metadata(prepared, loaded.provenance, attempt, tolerance, runtime)

        written = rewrite_and_write(prepared, output, folder, proof, describe, reporter, runtime, passes)
    attempt, size_bytes, remarks = written
    return ExportResult(
        output=output if attempt.is_right else None,
        size_bytes=size_bytes,
        kind=loaded.kind,
        opset=opset_of(prepared.model),
        inputs=prepared.specs,
        writes_before=prepared.writes,
        overlaps=prepared.overlaps,
        eager_difference=prepared.eager_difference,
        rewrites=attempt.report,
        remarks=(*prepared.remarks, *remarks),
        comparison=attempt.comparison,
        stages=tuple(reporter.stages),
        open_dims=prepared.open_dims,
    )


def _prepare(
    loaded: Loaded,
    given: tuple[TensorSpec, ...],
    value_ranges: Sequence[str],
    feed: Feed | None,
    opset: int | None,
    worker: Worker,
    reporter: Reporter,
) -> Prepared:
    if loaded.onnx_path is not None:
        return prepare_onnx(loaded.onnx_path, given, value_ranges, feed, opset, worker, reporter)
    from s2deploy.pipeline.program_inputs import specs_of_program
    from s2deploy.pipeline.torch_source import prepare_torch

    if not given and feed is not None:
        given = specs_from_feed(feed)
    if not given and loaded.program is not None:
        given = with_value_ranges(specs_of_program(loaded.program), value_ranges)
    if not given:
        raise UsageError(
            "the sizes of the inputs are not known",
            hint='give one --input for each argument of forward, e.g. --input "x:batch=1..8..64,3,224,224"',
        )
    return prepare_torch(loaded, given, DEFAULT_OPSET if opset is None else opset, reporter)


def _check_weights(prepared: Prepared, output: Path) -> None:
    """Checks again, now that the weights are known, that there is room and that nothing is overwritten."""
    sources = onnx_file.data_files(prepared.model)
    check_output(output, sources, needed_bytes=onnx_file.weight_bytes(prepared.model))
    if sources:
        check_output(output.with_name(f"{output.name}.data"), sources)


def _runtime_of(name: str | Runtime) -> Runtime:
    try:
        return Runtime(name)
    except ValueError as error:
        raise UsageError(
            f"there is no target runtime {name!r}", hint=f"use one of {', '.join(runtime.value for runtime in Runtime)}"
        ) from error


def _metadata(
    prepared: Prepared, provenance: Provenance, done: Attempt, tolerance: Tolerance, runtime: Runtime
) -> Metadata:
    return Metadata(
        source=provenance.reference,
        source_sha256=provenance.source_sha256,
        weights=None if provenance.weights is None else str(provenance.weights),
        weights_sha256=provenance.weights_sha256,
        inputs=prepared.specs,
        state=prepared.state,
        open_dims=prepared.open_dims,
        kwargs=provenance.kwargs,
        opset=opset_of(prepared.model),
        guards=tuple(done.report.guards),
        tolerance=tolerance,
        target_runtime=runtime.value,
        layouts=tuple(map(str, done.report.layouts)),
        plugins=plugin_operators(done.model),
        versions=installed_versions(),
    )


def _sources(provenance: Provenance) -> list[Path]:
    return [path for path in (provenance.source, provenance.weights) if path is not None]
