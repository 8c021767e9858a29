"""The closing lines of `run` and `inspect`, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from s2deploy.assumptions import assumptions
from s2deploy.inspection import Inspection, ModelInspection, OnnxInspection, PlanInspection, TensorFound
from s2deploy.report import format_bytes, format_seconds, format_table
from s2deploy.results import RunOutput, RunResult
from s2deploy.sidecar import EngineTensor, Loss, sidecar_path
from s2deploy.summary import kernel_line

_MOST_OPERATORS = 12
_DIGEST_LENGTH = 12


def run_lines(result: RunResult) -> list[str]:
    """Returns a table of the outputs, and where they are."""
    header = ("output", "dtype", "shape", "min", "mean", "max", "")
    lines = ["", *format_table([header, *map(_output_row, result.outputs)])]
    if result.output is not None:
        lines += ["", f"wrote {result.output}"]
    if result.samples > 1:
        rate = f"{result.samples / result.seconds:.1f}" if result.seconds else "-"
        lines.append(f"{result.samples} samples in {format_seconds(result.seconds)}, {rate} a second")
    return lines


def inspect_lines(inspection: Inspection) -> list[str]:
    """Returns what a file is, takes, gives and was made from."""
    if isinstance(inspection, OnnxInspection):
        return _onnx_lines(inspection)
    if isinstance(inspection, PlanInspection):
        return _plan_lines(inspection)
    return _model_lines(inspection)


def _output_row(output: RunOutput) -> tuple[str, ...]:
    shapes = " ".join(_shape(shape) for shape in output.shapes[:3]) + (" ..." if len(output.shapes) > 3 else "")
    numbers = ("-" if value is None else f"{value:.4g}" for value in (output.min, output.mean, output.max))
    broken = f"{output.not_finite} NaN or Inf" if output.not_finite else ""
    return (output.name, output.dtype, shapes, *numbers, broken)


def _onnx_lines(found: OnnxInspection) -> list[str]:
    weights = sum(found.weight_bytes.values())
    opset = found.opsets.get("ai.onnx", "none")
    by = f", by {found.producer}" if found.producer else ""
    rows = [
        ("file", f"{found.path}  {format_bytes(found.size_bytes)}, ONNX opset {opset}{by}"),
        ("weights", f"{format_bytes(weights)}{_shares(found.weight_bytes)}"),
        *[("", f"in {name}") for name in found.data_files],
        *_tensor_rows("input", found.inputs),
        *_tensor_rows("output", found.outputs),
        ("nodes", f"{found.nodes}: {_counts(found.operators)}"),
        ("scatters", str(found.scatters)),
        ("products", _counts(found.products) or "none: no matrix product or convolution"),
        *_listed("functions", found.functions),
        *_listed("plugins", found.plugins),
    ]
    made = found.provenance
    if made is None:
        return _aligned([*rows, ("made by", "not written by s2deploy; it holds none of its metadata")])
    rows += [
        ("made from", made.source + _digest(made.source_sha256)),
        *([] if made.weights is None else [("", f"weights {made.weights}{_digest(made.weights_sha256)}")]),
        ("made with", ", ".join(f"{name} {version}" for name, version in made.versions.items())),
        ("meaning", f"overlapping assignments follow {made.semantics} semantics"),
        ("proved", f"to {made.atol:g} of the largest output + {made.rtol:g} of each value"),
    ]
    assumed = assumptions(made.guards)
    return _aligned([*rows, *([("right where", ", ".join(assumed))] if assumed else [])])


def _plan_lines(found: PlanInspection) -> list[str]:
    sidecar = found.sidecar
    module = "tensorrt_rtx" if sidecar.target == "rtx" else "tensorrt"
    family = "TensorRT-RTX" if sidecar.target == "rtx" else "TensorRT"
    gpus = (
        f"compute capability {' or '.join(sidecar.capabilities)}" if sidecar.capabilities else "the GPU it was built on"
    )
    if sidecar.device is not None:
        gpus += f", built on {sidecar.device.name} ({sidecar.device.capability})"
    rows = [
        ("file", f"{found.path}  {format_bytes(sidecar.plan.size_bytes)}, {sidecar.precision}"),
        ("sidecar", f"{sidecar_path(found.path)}, SHA-256 agrees"),
        ("runs on", f"{family} {sidecar.versions.get(module, 'of an unknown version')} with {gpus}"),
        *_engine_rows("input", sidecar.inputs),
        *_engine_rows("output", sidecar.outputs),
    ]
    for index, profile in enumerate(sidecar.profiles):
        for name, shapes in profile.items():
            sizes = (f"{which} {_shape(getattr(shapes, which))}" for which in ("min", "opt", "max"))
            rows.append((f"profile {index}", f"{name}  {', '.join(sizes)}"))
    if sidecar.proof is not None:
        rows.append(("proof", f"{_counts(sidecar.proof.computed)}, read back from the {sidecar.proof.read_from}"))
    if sidecar.loss is not None:
        rows += _loss_rows(sidecar.loss)
    if sidecar.kernels is not None:
        rows.append(("operators", kernel_line(sidecar.kernels)))
    others = (f"{name} {version}" for name, version in sidecar.versions.items() if name != module)
    rows += [
        *_listed("plugins", [plugin.name for plugin in sidecar.plugins]),
        ("options", ", ".join(f"{name}={value}" for name, value in sidecar.options.items()) or "none"),
        ("made from", f"{sidecar.onnx.name}  {format_bytes(sidecar.onnx.size_bytes)}{_digest(sidecar.onnx.sha256)}"),
        ("made with", f"{', '.join(others)}, in {format_seconds(sidecar.build_seconds)}"),
    ]
    if sidecar.semantics is not None:
        rows.append(("meaning", f"overlapping assignments follow {sidecar.semantics} semantics"))
    return _aligned(rows)


def _loss_rows(loss: Loss) -> Iterator[tuple[str, str]]:
    data = "calibration data" if loss.inputs == "calibration" else "random inputs"
    for output in loss.outputs:
        cosine = "" if output.cosine is None else f"cosine similarity {output.cosine:.6f}, "
        yield "loss", f"{output.name}: {cosine}worst difference {output.worst:.2g} of {output.largest:.2g}, {data}"
    yield from (("", f"⚠ {failure}") for failure in loss.beyond)


def _model_lines(found: ModelInspection) -> list[str]:
    rows = [
        ("model", f"{found.reference}{_digest(found.sha256)}, {found.kind.replace('_', ' ')} of {found.module}"),
        ("weights", f"{_millions(found.parameters)} parameters, {format_bytes(sum(found.weight_bytes.values()))}"
            + _shares(found.weight_bytes)),
        *_tensor_rows("input", found.inputs),
        ("modules", _counts(found.modules) or "none"),
    ]  # fmt: skip
    return _aligned(rows)


def _aligned(rows: Iterable[tuple[str, str]]) -> list[str]:
    return format_table(rows)


def _tensor_rows(kind: str, tensors: Iterable[TensorFound]) -> list[tuple[str, str]]:
    return [(kind, tensor.range or _tensor(tensor.name, tensor.shape, tensor.dtype)) for tensor in tensors]


def _engine_rows(kind: str, tensors: Iterable[EngineTensor]) -> list[tuple[str, str]]:
    return [
        (kind, _tensor(tensor.name, ["?" if size < 0 else size for size in tensor.shape], tensor.dtype))
        for tensor in tensors
    ]


def _tensor(name: str, shape: Iterable[object], dtype: str) -> str:
    """Returns a tensor in the grammar of ``--input``."""
    return f"{name}:{','.join(map(str, shape))}:{dtype}"


def _shape(shape: Iterable[object]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _counts(counts: Mapping[str, int]) -> str:
    items = list(counts.items())
    more = [f"{len(items) - _MOST_OPERATORS} more kinds"] if len(items) > _MOST_OPERATORS else []
    return ", ".join([*(f"{count} {name}" for name, count in items[:_MOST_OPERATORS]), *more])


def _shares(sizes: Mapping[str, int]) -> str:
    if len(sizes) == 1:
        return f" in {next(iter(sizes))}"
    return ": " + ", ".join(f"{format_bytes(size)} {name}" for name, size in sizes.items()) if sizes else ""


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 100_000 else str(count)


def _listed(kind: str, names: Iterable[str]) -> list[tuple[str, str]]:
    text = ", ".join(names)
    return [(kind, text)] if text else []


def _digest(sha256: str | None) -> str:
    return "" if sha256 is None else f" (SHA-256 {sha256[:_DIGEST_LENGTH]}...)"
