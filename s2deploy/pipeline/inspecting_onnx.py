"""What an ONNX file holds, read without running it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from s2deploy import onnx_file
from s2deploy.inspection import OnnxInspection, Provenance, TensorFound
from s2deploy.metadata import PREFIX, Metadata
from s2deploy.precision import census
from s2deploy.specs import TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir

_SCATTERS = ("ScatterND", "ScatterElements", "Scatter")


def inspect_onnx(path: Path) -> OnnxInspection:
    """Returns what an ONNX file holds.

    Raises:
        ArtifactError: The file, or its s2deploy metadata, is damaged.
    """
    model = onnx_file.read(path)
    own = {key: text for key, text in model.metadata_props.items() if key.startswith(PREFIX)}
    metadata = Metadata.from_props(model.metadata_props, path) if f"{PREFIX}semantics" in own else None
    specs = {} if metadata is None or metadata.open_dims else {spec.name: spec for spec in metadata.inputs}
    operators = census.operators(model)
    functions = {f"{function.domain}::{function.name}" for function in model.functions.values()}
    return OnnxInspection(
        path=path,
        size_bytes=path.stat().st_size,
        weight_bytes=census.weights(model),
        data_files=tuple(sorted(file.name for file in onnx_file.data_files(model))),
        producer=" ".join(filter(None, (model.producer_name, model.producer_version))),
        ir_version=model.ir_version,
        opsets={domain or "ai.onnx": version for domain, version in model.opset_imports.items()},
        inputs=tuple(_tensor(value, specs.get(str(value.name))) for value in _inputs(model)),
        outputs=tuple(_tensor(value, None) for value in model.graph.outputs),
        nodes=sum(operators.values()),
        operators=operators,
        scatters=sum(operators.get(name, 0) for name in _SCATTERS),
        products=census.products(model),
        functions=tuple(sorted(functions)),
        plugins=tuple(sorted(name for name in operators if _is_foreign(name) and name not in functions)),
        provenance=None if metadata is None else _provenance(metadata),
        properties={key: text for key, text in model.metadata_props.items() if key not in own},
    )


def _inputs(model: ir.Model) -> list[ir.Value]:
    """Returns the inputs a caller gives: old files list their weights among them."""
    return [value for value in model.graph.inputs if not value.is_initializer()]


def _is_foreign(operator: str) -> bool:
    return "::" in operator and not operator.startswith("ai.onnx.")


def _tensor(value: ir.Value, spec: TensorSpec | None) -> TensorFound:
    shape = () if value.shape is None else tuple(size if isinstance(size, int) else size.value for size in value.shape)
    named = tuple(size if isinstance(size, int) else str(size or "?") for size in shape)
    return TensorFound(
        str(value.name), named, census.dtype_name(value.dtype), str(spec) if spec and spec.dynamic else None
    )


def _provenance(metadata: Metadata) -> Provenance:
    return Provenance(
        source=metadata.source,
        source_sha256=metadata.source_sha256,
        weights=metadata.weights,
        weights_sha256=metadata.weights_sha256,
        semantics=metadata.semantics,
        guards=metadata.guards,
        atol=metadata.tolerance.atol,
        rtol=metadata.tolerance.rtol,
        versions=metadata.versions,
    )
