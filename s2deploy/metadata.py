"""What an exported ONNX file says about itself, in its `metadata_props`: enough to prove and build it later.

Every key starts with ``s2deploy.``; structured values are JSON. Nothing in it changes between two exports of the
same model with the same versions, so equal inputs give equal files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata as packages
from pathlib import Path
from typing import Any

from s2deploy.errors import ArtifactError, S2DeployError, UsageError
from s2deploy.specs import TensorSpec, Tolerance, parse_inputs

PREFIX = "s2deploy."
CLONE = "clone"
_PACKAGES = ("s2deploy", "torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "polygraphy", "numpy")


@dataclass(frozen=True)
class Metadata:
    """What an export was made from and what it promises.

    Attributes:
        source: The model reference as it was given.
        source_sha256: Digest of the source file; None for a module without one.
        weights: The weights file as it was given.
        weights_sha256: Its digest.
        inputs: The inputs with the ranges they were validated for, dtypes and value ranges.
        open_dims: Dimensions of an ONNX source nobody gave a range for; they were validated at the sizes in `inputs`
            and may have others, so the file does not declare `inputs` as what it accepts.
        kwargs: Arguments of the factory.
        state: The buffer or parameter for each output that is the new value of one.
        opset: Opset of the default domain.
        guards: What must hold of the dynamic dimensions for the rewritten graph to be right.
        tolerance: What the outputs were compared with.
        target_runtime: What the file is to be fast on.
        layouts: The parts of the graph that compute in another order of axes than the source.
        plugins: The operators of the s2deploy plugins in the graph, which functions in the file compute as well.
        semantics: What an overlapping assignment means: every right-hand side is read before anything is written.
        versions: Versions of the packages that made the file.
    """

    source: str
    source_sha256: str | None
    inputs: tuple[TensorSpec, ...]
    opset: int
    weights: str | None = None
    weights_sha256: str | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    open_dims: tuple[str, ...] = ()
    state: Mapping[str, str] = field(default_factory=dict)
    guards: tuple[str, ...] = ()
    tolerance: Tolerance = field(default_factory=Tolerance)
    target_runtime: str | None = None
    layouts: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    semantics: str = CLONE
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_props(self) -> dict[str, str]:
        """Returns the metadata as ONNX `metadata_props`."""
        ranges = {spec.name: spec.value_range for spec in self.inputs if spec.value_range is not None}
        values = {
            "source": {"reference": self.source, "sha256": self.source_sha256},
            "weights": {"path": self.weights, "sha256": self.weights_sha256},
            "validated_inputs" if self.open_dims else "inputs": [str(spec) for spec in self.inputs],
            "open_dims": list(self.open_dims),
            "value_ranges": ranges,
            "kwargs": dict(self.kwargs),
            "state": dict(self.state),
            "opset": self.opset,
            "guards": list(self.guards),
            "tolerance": {"atol": self.tolerance.atol, "rtol": self.tolerance.rtol},
            "target_runtime": self.target_runtime,
            "layouts": list(self.layouts),
            "plugins": list(self.plugins),
            "versions": dict(self.versions),
        }
        return {f"{PREFIX}semantics": self.semantics} | {
            PREFIX + key: json.dumps(value, sort_keys=True) for key, value in values.items()
        }

    @staticmethod
    def from_props(props: Mapping[str, str], path: Path) -> Metadata:
        """Reads metadata back.

        Args:
            props: The `metadata_props` of an ONNX model.
            path: The file they come from, for messages.

        Raises:
            ArtifactError: They were not written by s2deploy, or are damaged.
        """
        if f"{PREFIX}semantics" not in props:
            raise ArtifactError(
                f"{path} was not written by s2deploy: it holds none of its metadata",
                hint="make it with: s2deploy export MODEL -o model.onnx",
            )
        try:
            value = {key.removeprefix(PREFIX): text for key, text in props.items() if key.startswith(PREFIX)}
            semantics = value.pop("semantics")
            read = {key: json.loads(text) for key, text in value.items()}
            ranges = [f"{name}={low!r}..{high!r}" for name, (low, high) in read["value_ranges"].items()]
            return Metadata(
                source=read["source"]["reference"],
                source_sha256=read["source"]["sha256"],
                weights=read["weights"]["path"],
                weights_sha256=read["weights"]["sha256"],
                inputs=parse_inputs(read["validated_inputs" if read["open_dims"] else "inputs"], ranges),
                open_dims=tuple(read["open_dims"]),
                kwargs=read["kwargs"],
                state=read.get("state", {}),
                opset=read["opset"],
                guards=tuple(read["guards"]),
                tolerance=Tolerance(**read["tolerance"]),
                target_runtime=read.get("target_runtime"),
                layouts=tuple(read.get("layouts", ())),
                plugins=tuple(read.get("plugins", ())),
                semantics=semantics,
                versions=read["versions"],
            )
        except (KeyError, TypeError, ValueError, AttributeError, S2DeployError) as error:
            raise ArtifactError(
                f"the s2deploy metadata of {path} is damaged: {error}", hint="export the model again"
            ) from error


def read_metadata(path: Path) -> Metadata:
    """Reads the metadata of an exported ONNX file without loading its external data.

    Raises:
        UsageError: There is no such file.
        ArtifactError: The file is not ONNX, or was not written by s2deploy.
    """
    import onnx

    if not path.is_file():
        raise UsageError(f"{path}: no such file", hint="export the model first: s2deploy export MODEL -o model.onnx")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's DecodeError has no stable public home
        raise ArtifactError(f"{path} is not a readable ONNX file", hint="export the model again") from error
    return Metadata.from_props({entry.key: entry.value for entry in model.metadata_props}, path)


def installed_versions(names: Iterable[str] = _PACKAGES) -> dict[str, str]:
    """Returns the versions of the installed packages among `names`."""
    versions = {}
    for name in names:
        try:
            versions[name] = packages.version(name)
        except packages.PackageNotFoundError:
            continue
    return versions
