"""What `inspect` finds in a file: typed, frozen, ready for the terminal and for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from s2deploy.sidecar import Sidecar


@dataclass(frozen=True)
class TensorFound:
    """An input or output.

    Attributes:
        name: Its name.
        shape: A size per axis; a name or ``?`` where the size is dynamic.
        dtype: Its dtype by numpy's name.
        range: The sizes it is known to work at, written as for ``--input``; None where nothing says so.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    range: str | None = None


@dataclass(frozen=True)
class Provenance:
    """Where an ONNX file of ours came from, as its metadata says.

    Attributes:
        source: The model it was exported from.
        source_sha256: Digest of its file.
        weights: Its weights file.
        weights_sha256: Digest of that.
        semantics: What overlapping assignments mean in it.
        guards: What must hold of its dynamic sizes.
        atol: Absolute tolerance it was proved with.
        rtol: Relative tolerance it was proved with.
        versions: Versions of the packages that made it.
    """

    source: str
    source_sha256: str | None
    weights: str | None
    weights_sha256: str | None
    semantics: str
    guards: tuple[str, ...]
    atol: float
    rtol: float
    versions: Mapping[str, str]


@dataclass(frozen=True)
class OnnxInspection:
    """An ONNX file.

    Attributes:
        path: The file.
        size_bytes: Its size, without external data.
        weight_bytes: Size of its weights by dtype, wherever they are.
        data_files: Files its weights are in, beside its own.
        producer: The program that wrote it; empty where the file does not say.
        ir_version: Version of its format.
        opsets: Opset by domain; the default domain is ``ai.onnx``.
        inputs: Its inputs.
        outputs: Its outputs.
        nodes: Number of nodes that are not Constant, those of subgraphs and local functions included.
        operators: Nodes by operator, most frequent first; operators of other domains have theirs before ``::``.
        scatters: ScatterND and ScatterElements nodes.
        products: Matrix products and convolutions by the type they compute in, ``unknown`` where the file does not say.
        functions: Local functions.
        plugins: Operators that neither ONNX nor a local function defines.
        provenance: Where it came from; None where s2deploy did not write it.
        properties: All other metadata.
        kind: ``onnx``.
    """

    path: Path
    size_bytes: int
    weight_bytes: Mapping[str, int]
    data_files: tuple[str, ...]
    producer: str
    ir_version: int
    opsets: Mapping[str, int]
    inputs: tuple[TensorFound, ...]
    outputs: tuple[TensorFound, ...]
    nodes: int
    operators: Mapping[str, int]
    scatters: int
    products: Mapping[str, int]
    functions: tuple[str, ...]
    plugins: tuple[str, ...]
    provenance: Provenance | None
    properties: Mapping[str, str] = field(default_factory=dict)
    kind: str = "onnx"


@dataclass(frozen=True)
class PlanInspection:
    """A plan and what its sidecar says of it.

    Attributes:
        path: The plan.
        sidecar: What is known about it; its SHA-256 was found to be that of the plan.
        kind: ``plan``.
    """

    path: Path
    sidecar: Sidecar
    kind: str = "plan"


@dataclass(frozen=True)
class ModelInspection:
    """A PyTorch model.

    Attributes:
        reference: The model as it was named.
        kind: What it is, e.g. ``factory`` or ``exported_program``.
        module: Class of the module.
        sha256: Digest of its file; None for a module without one.
        parameters: Number of parameters.
        weight_bytes: Size of parameters and buffers by dtype.
        inputs: The inputs of an exported program, which knows them; empty for all others.
        modules: Modules by class, most frequent first.
    """

    reference: str
    kind: str
    module: str
    sha256: str | None
    parameters: int
    weight_bytes: Mapping[str, int]
    inputs: tuple[TensorFound, ...]
    modules: Mapping[str, int]


Inspection = OnnxInspection | PlanInspection | ModelInspection
