"""`validate`: the proof of an export, any time later."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2deploy import onnx_file
from s2deploy.accuracy import Comparison, Side
from s2deploy.artifacts import temporary
from s2deploy.feeds import load_feed
from s2deploy.metadata import Metadata, read_metadata
from s2deploy.model import Loaded
from s2deploy.pipeline.arguments import AnyPath, load, tolerance_of
from s2deploy.pipeline.proof import Proof, describe
from s2deploy.report import Reporter
from s2deploy.runtime import Worker

if TYPE_CHECKING:
    import torch


def validate(
    model: AnyPath | torch.nn.Module,
    artifact: AnyPath,
    *,
    data: AnyPath | None = None,
    kwargs: Mapping[str, Any] | None = None,
    weights: AnyPath | None = None,
    trust_pickle: bool = False,
    atol: float | None = None,
    rtol: float | None = None,
    reporter: Reporter | None = None,
) -> Comparison:
    """Compares an exported ONNX file with the model it was made from.

    Args:
        model: The model, named as for `export`, or a module.
        artifact: The exported file; what is not given here comes from its metadata.
        data: An ``.npz`` of inputs to compare on, instead of random ones.
        kwargs: Arguments of a factory.
        weights: A state_dict for a factory's module.
        trust_pickle: Whether code inside the files may run.
        atol: See `Tolerance`.
        rtol: See `Tolerance`.
        reporter: Told about every stage.

    Returns:
        One comparison for each output at each size; a mismatch is a result.

    Raises:
        UsageError: The call is wrong.
        ArtifactError: The artifact is unreadable or was not written by `export`.
        S2DeployError: The model could not be loaded or run.
    """
    artifact = Path(artifact)
    reporter = reporter or Reporter()
    metadata = read_metadata(artifact)
    tolerance = tolerance_of(atol, rtol, metadata.tolerance)
    feed = None if data is None else load_feed(Path(data))
    is_named = not _is_module(model)
    loaded = load(
        model,
        metadata.kwargs if kwargs is None and is_named else kwargs,
        metadata.weights if weights is None and is_named else weights,
        trust_pickle,
        reporter,
    )
    for remark in _changes(loaded, metadata):
        reporter.line(f"note: {remark}")
    original = _reference(loaded, metadata, artifact)
    with temporary() as folder, Worker(folder) as worker:
        proof = Proof(original, worker, folder, metadata.inputs, feed, tolerance, open_dims=metadata.open_dims)
        with reporter.stage("validate", "comparing outputs on onnxruntime") as stage:
            comparison = proof.compare(artifact, stage)
            stage.detail = describe(comparison)
    return comparison


def _is_module(model: object) -> bool:
    return not isinstance(model, str | os.PathLike)


def _changes(loaded: Loaded, metadata: Metadata) -> list[str]:
    """Returns what is no longer as it was when the artifact was made."""
    provenance = loaded.provenance
    pairs = (
        (provenance.source, provenance.source_sha256, metadata.source_sha256),
        (provenance.weights, provenance.weights_sha256, metadata.weights_sha256),
    )
    return [
        f"{path} is not the file the artifact was made from"
        for path, digest, recorded in pairs
        if path is not None and recorded is not None and digest != recorded
    ]


def _reference(loaded: Loaded, metadata: Metadata, artifact: Path) -> Path | Side:
    if loaded.onnx_path is not None:
        return loaded.onnx_path
    from s2deploy.pipeline.torch_source import torch_side

    assert loaded.module is not None  # only an ONNX source has none
    outputs = [str(value.name) for value in onnx_file.read(artifact).graph.outputs]
    return torch_side(loaded.module, metadata.inputs, outputs, metadata.state)
