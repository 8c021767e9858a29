"""The sidecar: ``model.plan.json`` beside the byte-pure ``model.plan``, holding everything known about it.

A plan with anything added to its bytes is unreadable to other tools, so nothing is ever put inside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from s2deploy.artifacts import sha256
from s2deploy.errors import ArtifactError

SCHEMA = 1
_STATE_KEY = "s2deploy.state"


@dataclass(frozen=True)
class FileIdentity:
    """A file as it was when the plan was built.

    Attributes:
        name: Its name, without the folder.
        sha256: Hexadecimal SHA-256 of its bytes; weights kept in external files are not part of it.
        size_bytes: Its size.
    """

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class ProfileShapes:
    """The shapes one input can take in an optimization profile."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


@dataclass(frozen=True)
class EngineTensor:
    """An input or output of the engine; -1 where a size is dynamic."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Device:
    """The GPU an engine was built on.

    Attributes:
        name: As its driver calls it.
        capability: Its compute capability, e.g. ``9.0``.
    """

    name: str
    capability: str


@dataclass(frozen=True)
class Proof:
    """What was read back after the build: the types that matrix products and convolutions compute in.

    Attributes:
        read_from: ``engine`` where the engine could be loaded, ``network`` where its parsed network had to do.
        computed: How many compute in each type, e.g. ``{"float16": 12, "float32": 1}``.
        kept: ONNX nodes among them that stay wider because that was asked for.
    """

    read_from: str
    computed: dict[str, int]
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class OutputLoss:
    """How far one output was from float32, over all feeds.

    Attributes:
        name: The output's name.
        cosine: The least cosine similarity; None for integers and booleans.
        worst: The largest difference.
        largest: The largest magnitude in float32, to see `worst` beside.
    """

    name: str
    cosine: float | None
    worst: float
    largest: float


@dataclass(frozen=True)
class Loss:
    """What the precision cost, measured on onnxruntime before the build.

    Attributes:
        inputs: ``calibration`` where it was measured on calibration data, ``random`` otherwise.
        feeds: How many feeds were compared.
        outputs: One comparison per output.
        beyond: The tolerances it missed, a sentence each; the plan was built nevertheless because random inputs prove
            nothing, or because the user accepted the loss.
    """

    inputs: str
    feeds: int
    outputs: tuple[OutputLoss, ...]
    beyond: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kernels:
    """What became of the operators of the s2deploy plugins that the model has.

    Attributes:
        used: Whether kernels of the plugins compute them; their functions are written out otherwise.
        operators: How many nodes of each.
        reason: Why, a sentence.
        kernels_ms: Median time of the GPU's work with the kernels; None where it was not measured.
        functions_ms: The same with the functions written out.
    """

    used: bool
    operators: dict[str, int]
    reason: str
    kernels_ms: float | None = None
    functions_ms: float | None = None


@dataclass(frozen=True)
class Sidecar:
    """What is known about a plan.

    Attributes:
        onnx: The ONNX file it was built from.
        plan: The plan itself.
        target: ``rtx`` or ``tensorrt``.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``: what matrix products and convolutions compute in.
        capabilities: Compute capabilities such as ``8.6`` the plan runs on; empty where it was built for the
            machine's own GPU, which is `device` then.
        versions: Versions of the packages that made it, by distribution name.
        profiles: Optimization profiles, each by input name; empty for a static engine.
        inputs: The engine's inputs.
        outputs: The engine's outputs.
        options: What the builder was asked for besides, e.g. ``{"strongly_typed": true}``; what is not there was left
            to TensorRT.
        build_seconds: Time the builder took.
        semantics: What overlapping assignments mean in the model, copied from the ONNX file.
        device: The GPU it was built on; None where it was built for capabilities.
        proof: The precision as read back; None in a sidecar of an older version.
        plugins: Libraries of plugins the plan needs, which lie beside it.
        loss: What the precision cost; None for fp32 and where it was not measured.
        kernels: What became of the operators of the s2deploy plugins; None where the model has none.
        state: The buffer or parameter for each output that is the new value of one, copied from the ONNX file.
        schema: Version of this layout.
    """

    onnx: FileIdentity
    plan: FileIdentity
    target: str
    precision: str
    capabilities: tuple[str, ...]
    versions: dict[str, str]
    profiles: tuple[dict[str, ProfileShapes], ...]
    inputs: tuple[EngineTensor, ...]
    outputs: tuple[EngineTensor, ...]
    options: dict[str, bool | int | str] = field(default_factory=dict)
    build_seconds: float = 0.0
    semantics: str | None = None
    device: Device | None = None
    proof: Proof | None = None
    plugins: tuple[FileIdentity, ...] = ()
    loss: Loss | None = None
    kernels: Kernels | None = None
    state: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    def to_json(self) -> str:
        """Returns the sidecar's text."""
        return json.dumps({"schema": self.schema} | asdict(self), indent=2) + "\n"


def sidecar_path(plan: Path) -> Path:
    """Returns where a plan's sidecar lies: ``model.plan`` has ``model.plan.json``."""
    return plan.with_name(plan.name + ".json")


def identify(path: Path) -> FileIdentity:
    """Hashes a file.

    Raises:
        ArtifactError: The file cannot be read.
    """
    return FileIdentity(path.name, sha256(path), path.stat().st_size)


def read_sidecar(plan: Path) -> Sidecar:
    """Reads a plan's sidecar and checks that it belongs to the plan.

    Raises:
        ArtifactError: The sidecar or the plan is missing or damaged, or the plan is not the one it describes.
    """
    path = sidecar_path(plan)
    again = "build the plan again with s2deploy build"
    try:
        sidecar = _parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{plan} has no sidecar {path.name}", hint=f"keep both files together, or {again}"
        ) from error
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}", hint="check the permissions") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} is damaged: {type(error).__name__}: {error}", hint=again) from error
    found = identify(plan)
    if (found.sha256, found.size_bytes) != (sidecar.plan.sha256, sidecar.plan.size_bytes):
        raise ArtifactError(
            f"{plan} is not the plan {path.name} describes: "
            f"SHA-256 {found.sha256[:12]}... in {found.size_bytes} bytes, "
            f"{sidecar.plan.sha256[:12]}... in {sidecar.plan.size_bytes} expected",
            hint=again,
        )
    return sidecar


def read_state(properties: Mapping[str, str]) -> dict[str, str]:
    """Returns the buffer or parameter for each output that is the new value of one.

    Args:
        properties: The metadata of an ONNX file.

    Raises:
        ArtifactError: It is damaged.
    """
    try:
        return {str(output): str(target) for output, target in json.loads(properties.get(_STATE_KEY, "{}")).items()}
    except (ValueError, AttributeError) as error:
        raise ArtifactError(f"the metadata {_STATE_KEY} is damaged: {error}", hint="export the model again") from error


def _parse(data: dict[str, Any]) -> Sidecar:
    if data["schema"] != SCHEMA:
        raise ValueError(f"schema {data['schema']} is not {SCHEMA}, which this version of s2deploy reads")
    fields = dict(data)
    fields["onnx"] = FileIdentity(**data["onnx"])
    fields["plan"] = FileIdentity(**data["plan"])
    fields["capabilities"] = tuple(data["capabilities"])
    fields["profiles"] = tuple(
        {
            name: ProfileShapes(**{key: tuple(value) for key, value in shapes.items()})
            for name, shapes in profile.items()
        }
        for profile in data["profiles"]
    )
    fields["plugins"] = tuple(FileIdentity(**plugin) for plugin in data.get("plugins", ()))
    if data.get("device") is not None:
        fields["device"] = Device(**data["device"])
    if data.get("proof") is not None:
        fields["proof"] = Proof(**data["proof"] | {"kept": tuple(data["proof"]["kept"])})
    if data.get("loss") is not None:
        outputs = tuple(OutputLoss(**output) for output in data["loss"]["outputs"])
        fields["loss"] = Loss(**data["loss"] | {"outputs": outputs, "beyond": tuple(data["loss"]["beyond"])})
    if data.get("kernels") is not None:
        fields["kernels"] = Kernels(**data["kernels"])
    for key in ("inputs", "outputs"):
        fields[key] = tuple(EngineTensor(t["name"], tuple(t["shape"]), t["dtype"]) for t in data[key])
    return Sidecar(**fields)
