"""From an ONNX file of any framework to a graph to be rewritten, and the file itself as the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from s2deploy import onnx_file
from s2deploy.accuracy import Side
from s2deploy.errors import ArtifactError, S2DeployError, UsageError
from s2deploy.feeds import Array, random_feed
from s2deploy.metadata import PREFIX, Metadata
from s2deploy.pipeline.onnx_inputs import resolve_inputs
from s2deploy.pipeline.source import Prepared
from s2deploy.report import Reporter
from s2deploy.rewrite import count_nodes, count_scatters
from s2deploy.runtime import Worker
from s2deploy.specs import TensorSpec, with_value_ranges


def prepare_onnx(
    path: Path,
    given: Sequence[TensorSpec],
    value_ranges: Sequence[str],
    data: Mapping[str, Array] | None,
    opset: int | None,
    worker: Worker,
    reporter: Reporter,
) -> Prepared:
    """Reads an ONNX file and settles its inputs.

    Args:
        path: The file.
        given: Specs of some or all inputs.
        value_ranges: ``NAME=LO..HI`` texts for inputs without a spec.
        data: Arrays to validate on.
        opset: The opset asked for; the file's own, or an error.
        worker: Runs the file, where its sizes have to be tried.
        reporter: Told about the stages.

    Raises:
        ArtifactError: The file cannot be read.
        UsageError: The inputs or the opset do not go with the file.
        SourceError: The model does not run at any size tried.
    """
    worker.start()
    with reporter.stage("read", "reading the ONNX file") as stage:
        model = onnx_file.read(path)
        own_opset = opset_of(model)
        if opset not in (None, own_opset):
            raise UsageError(
                f"{path} has opset {own_opset} and keeps it; --opset {opset} is for PyTorch models",
                hint="leave --opset out, or convert the file with onnx.version_converter first",
            )
        scatters = count_scatters(model)
        stage.detail = f"opset {own_opset}, {count_nodes(model)} nodes, {scatters} scatters"
    with reporter.stage("inputs", "finding the sizes of the inputs") as stage:
        open_dims: tuple[str, ...] = ()
        if not given and f"{PREFIX}semantics" in model.metadata_props:
            metadata = Metadata.from_props(model.metadata_props, path)
            given, open_dims = metadata.inputs, metadata.open_dims
        inputs = resolve_inputs(model, given, _tries(worker.side(path)), data, open_dims)
        specs = with_value_ranges(inputs.specs, value_ranges)
        stage.detail = "  ".join(map(str, specs)) or "none"
        stage.notes += inputs.remarks
    return Prepared(
        model=model,
        specs=specs,
        ranges=inputs.declared,
        reference=path,
        reference_name="the original file",
        writes=scatters,
        open_dims=inputs.open_dims,
        remarks=inputs.remarks,
    )


def opset_of(model: ir.Model) -> int:
    """Returns the version of the default domain; 1 where the file names none."""
    return model.opset_imports.get("", model.opset_imports.get("ai.onnx", 1))


def _tries(side: Side) -> Callable[[Sequence[TensorSpec], Mapping[str, int]], bool]:
    """Returns a function that tells whether the model runs at some sizes of its named dimensions."""

    def runs(specs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> bool:
        try:
            side(random_feed(specs, sizes))
        except ArtifactError:
            raise
        except S2DeployError:
            return False
        return True

    return runs
