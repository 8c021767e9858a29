"""`export`: load, report overlaps, capture, translate, rewrite, prove, write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2deploy import onnx_file
from s2deploy.accuracy import Comparison
from s2deploy.artifacts import check_output, staged
from s2deploy.errors import S2DeployError, UsageError
from s2deploy.feeds import Feed, check_feed, load_feed, specs_from_feed
from s2deploy.metadata import Metadata, installed_versions
from s2deploy.model import Loaded, Provenance
from s2deploy.pipeline.arguments import AnyPath, load, read_paths, specs_of, tolerance_of, weight_bytes
from s2deploy.pipeline.onnx_source import opset_of, prepare_onnx
from s2deploy.pipeline.proof import prove
from s2deploy.pipeline.source import Prepared
from s2deploy.report import Reporter, format_bytes
from s2deploy.results import ExportResult
from s2deploy.rewrite import Refusal, RewriteReport, count_nodes, count_scatters, rewrite
from s2deploy.specs import TensorSpec, Tolerance, with_value_ranges

if TYPE_CHECKING:
    import onnx_ir as ir
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
        validate: Whether to prove the file before it is written.
        atol: See `Tolerance`.
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
    tolerance = tolerance_of(atol, rtol)
    given = specs_of(inputs, value_ranges)
    feed = None if data is None else load_feed(Path(data))
    check_output(output, read_paths(model, weights, data))
    if output.suffix != ".onnx":
        raise UsageError(f"the output {output} is not named .onnx", hint=f"write -o {output}.onnx")
    loaded = load(model, kwargs, weights, trust_pickle, reporter)
    check_output(output, _sources(loaded.provenance), needed_bytes=weight_bytes(loaded))
    prepared = _prepare(loaded, given, value_ranges, feed, opset, reporter)
    if feed is not None:
        check_feed(feed, prepared.specs)
    plain = prepared.model.clone()
    prepared, rewrites = _rewrite(prepared, plain, reporter)
    comparison = None
    with staged(output) as path:

        def write_and_prove() -> tuple[int, Comparison | None]:
            facts = _metadata(prepared, loaded.provenance, rewrites, tolerance)
            prepared.model.metadata_props.update(facts.to_props())
            size = _write(prepared, path, reporter)
            return size, prove(
                prepared.reference, path, prepared.specs, feed, tolerance, reporter
            ) if validate else None

        size_bytes, comparison = write_and_prove()
        if rewrites.rewrites and comparison is not None and not comparison.passed:
            kept = prepared, rewrites, comparison
            _discard(path.parent)
            with reporter.stage("withdraw", "taking the rewrites back") as stage:
                prepared, rewrites = _withdrawn(prepared, plain, "the rewritten graph gave other outputs")
                stage.detail = prepared.remarks[-1]
            size_bytes, comparison = write_and_prove()
            if comparison is not None and not comparison.passed:
                prepared, rewrites, comparison = kept
        passed = comparison is None or comparison.passed
        if not passed:
            _discard(path.parent)
    return ExportResult(
        output=output if passed else None,
        size_bytes=size_bytes,
        kind=loaded.kind,
        opset=opset_of(prepared.model),
        inputs=prepared.specs,
        writes_before=prepared.writes,
        overlaps=prepared.overlaps,
        eager_difference=prepared.eager_difference,
        rewrites=rewrites,
        remarks=prepared.remarks,
        comparison=comparison,
        stages=tuple(reporter.stages),
    )


def _prepare(
    loaded: Loaded,
    given: tuple[TensorSpec, ...],
    value_ranges: Sequence[str],
    feed: Feed | None,
    opset: int | None,
    reporter: Reporter,
) -> Prepared:
    if loaded.onnx_path is not None:
        return prepare_onnx(loaded.onnx_path, given, value_ranges, feed, opset, reporter)
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


def _rewrite(prepared: Prepared, plain: ir.Model, reporter: Reporter) -> tuple[Prepared, RewriteReport]:
    """Rewrites the model, or takes the plain one where the rewrite itself breaks down."""
    with reporter.stage("rewrite", "rewriting data movement") as stage:
        try:
            report = rewrite(prepared.model, prepared.ranges)
        except S2DeployError:
            raise
        except Exception as error:  # a defect of ours must not cost the user a correct file
            prepared, report = _withdrawn(prepared, plain, f"rewriting broke down ({type(error).__name__}: {error})")
        stage.detail = (
            f"{len(report.rewrites)} rewrites, {len(report.refusals)} refusals, "
            f"nodes {report.nodes_before} -> {report.nodes_after}, "
            f"scatters {report.scatters_before} -> {report.scatters_after}"
        )
        stage.notes += prepared.remarks[-1:] if prepared.model is plain else ()
    return prepared, report


def _withdrawn(prepared: Prepared, plain: ir.Model, reason: str) -> tuple[Prepared, RewriteReport]:
    """Returns the model as it was before the rewrite, and a report that says so."""
    nodes, scatters = count_nodes(plain), count_scatters(plain)
    remark = f"{reason}; the file is written without rewrites, please report the model"
    report = RewriteReport(
        refusals=[Refusal("", "model", reason)],
        nodes_before=nodes,
        nodes_after=nodes,
        scatters_before=scatters,
        scatters_after=scatters,
    )
    return replace(prepared, model=plain, remarks=(*prepared.remarks, remark)), report


def _write(prepared: Prepared, path: Path, reporter: Reporter) -> int:
    """Writes the ONNX file and returns the size of all files it took, in bytes."""
    with reporter.stage("write", "writing the ONNX file") as stage:
        onnx_file.write(prepared.model, path)
        size_bytes = sum(file.stat().st_size for file in path.parent.iterdir())
        stage.detail = format_bytes(size_bytes)
    return size_bytes


def _metadata(prepared: Prepared, provenance: Provenance, report: RewriteReport, tolerance: Tolerance) -> Metadata:
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
        guards=tuple(report.guards),
        tolerance=tolerance,
        versions=installed_versions(),
    )


def _sources(provenance: Provenance) -> list[Path]:
    return [path for path in (provenance.source, provenance.weights) if path is not None]


def _discard(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
