"""One mutant: run as it is, rewritten and run again, exported by the library; and what must hold."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx

_MOST_ELEMENTS = 1 << 22
_RANDOM = frozenset(
    {"Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)

At = Callable[[str], None]
"""Told which stage begins, so that a crash or a hang can be ascribed."""


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant.

    Attributes:
        outcome: In a few words, to be counted.
        detail: What happened exactly.
        failed: Whether it must not happen.
    """

    outcome: str
    detail: str = ""
    failed: bool = False


def trial(path: Path, rng: Random, at: At, *, skip_original: bool = False) -> list[Verdict]:
    """Tries one mutant.

    Args:
        path: Its file, in a folder of its own.
        rng: Decides sizes and values of inputs.
        at: Told about the stages ``original``, ``rewrite``, ``candidate`` and ``export``.
        skip_original: Whether the original is known to kill or block onnxruntime.
    """
    verdicts = []
    before: list[tuple[Mapping[str, Any], Sequence[Any]]] = []
    if not skip_original:
        at("original")
        verdict, before = _original(path, rng)
        verdicts.append(verdict)
    loaded = not skip_original and not verdicts[0].outcome.startswith("original: refused")
    verdicts.append(_rewritten(path, before, at, valid=loaded))
    at("export")
    verdicts.append(_exported(path, runs=bool(before)))
    return verdicts


def _original(path: Path, rng: Random) -> tuple[Verdict, list[tuple[Mapping[str, Any], Sequence[Any]]]]:
    try:
        session = _session(path.read_bytes(), path)
    except Exception as error:  # onnxruntime's exceptions share no base class
        return Verdict("original: refused by onnxruntime", str(error)), []
    runs = []
    for feed in _feeds(session, rng):
        try:
            runs.append((feed, session.run(None, feed)))
        except Exception as error:
            reason = str(error)
    if not runs:
        return Verdict("original: does not run", locals().get("reason", "it needs more memory than a mutant gets")), []
    return Verdict("original: runs"), runs


def _rewritten(path: Path, before: list[tuple[Mapping[str, Any], Sequence[Any]]], at: At, *, valid: bool) -> Verdict:
    import onnx_ir as ir

    from s2deploy import onnx_file
    from s2deploy.errors import S2DeployError
    from s2deploy.rewrite import rewrite

    at("rewrite")
    try:
        model = onnx_file.read(path)
        tolerance = _tolerance(model)
        try:
            ir.to_proto(model)
        except ir.serde.SerdeError as error:  # it holds text that is not UTF-8
            return Verdict("rewrite: not tried, the file cannot be written back", str(error))
        report = rewrite(model)
        data = ir.to_proto(model).SerializeToString()
    except S2DeployError as error:
        return _error("rewrite", error)
    except Exception as error:
        where = "" if valid else " on what onnxruntime refuses"
        return Verdict(f"rewrite: {type(error).__name__}{where}", traceback.format_exc(), failed=valid)
    if not before:
        return Verdict("rewrite: done, nothing to compare")
    at("candidate")
    try:
        session = _session(data, path)
    except Exception as error:
        # it overlooks a false type where a constant is an output, and then not where a node computes it
        false = "Type Error" in str(error) and not _is_valid(path.read_bytes(), types=True)
        about = " of a model with false types" if false else ""
        return Verdict(f"rewrite: onnxruntime refuses the result{about}", str(error), failed=not false)
    if _is_valid(path.read_bytes()) and not _is_valid(data):
        return Verdict("rewrite: onnx.checker refuses the result", failed=True)
    for feed, expected in before:
        try:
            difference = _difference(expected, session.run(None, feed), tolerance)
        except Exception as error:
            difference = f"the result does not run: {error}"
        if difference and not _is_steady(path, feed, expected):
            return Verdict("original: gives other outputs from run to run")
        if difference and not _is_defined(path, feed):
            return Verdict("rewrite: other outputs where ONNX defines none")
        if difference:
            shapes = {name: np.shape(value) for name, value in feed.items()}
            return Verdict("rewrite: WRONG", f"{difference}; inputs {shapes}", failed=True)
    return Verdict("rewrite: rewritten, equal" if report.rewrites else "rewrite: nothing to rewrite, equal")


def _is_steady(path: Path, feed: Mapping[str, Any], expected: Sequence[Any]) -> bool:
    """Whether the original gives the same again, whatever its memory held before: some models leave parts unwritten."""
    for fill in (0.0, 1.5, -7.25):
        session = _session(path.read_bytes(), path)
        held = [np.full(1 << size, fill, np.float32) for size in range(4, 16) for _ in range(8)]
        del held
        if _difference(expected, session.run(None, feed), 0.0):
            return False
    return True


def _is_defined(path: Path, feed: Mapping[str, Any]) -> bool:
    """Whether ONNX defines what a model gives: onnxruntime joins what does not fit, and leaves parts unwritten."""
    from onnx.reference import ReferenceEvaluator

    try:
        ReferenceEvaluator(str(path)).run(None, dict(feed))
    except (IndexError, ValueError):
        return False
    except Exception:  # an operator the evaluator does not have
        return True
    return True


def _exported(path: Path, *, runs: bool) -> Verdict:
    import s2deploy

    output = path.with_name("exported.onnx")
    held = {file.name for file in path.parent.iterdir()}
    try:
        result = s2deploy.export(path, output)
        written = {output.name} if result.passed else set()
        if not result.passed:
            verdict = Verdict("export: the outputs differ", str(result.comparison), failed=True)
        elif any("rewrit" in remark for remark in result.remarks):
            verdict = Verdict("export: rewrites withdrawn", " | ".join(result.remarks), failed=True)
        else:
            verdict = Verdict("export: proven")
    except s2deploy.S2DeployError as error:
        verdict, written = _error("export of a model that runs" if runs else "export", error), set()
    except Exception as error:
        verdict, written = Verdict(f"export: {type(error).__name__}", traceback.format_exc(), failed=True), set()
    left = {file.name for file in path.parent.iterdir()} - held
    if not left <= {output.name, f"{output.name}.data"} or (left and not written):
        return Verdict("export: files left behind", ", ".join(sorted(left)), failed=True)
    return verdict


def _error(stage: str, error: Any) -> Verdict:
    if not error.message or not error.hint:
        return Verdict(f"{stage}: an error without a message or a hint", repr(error), failed=True)
    return Verdict(f"{stage}: {type(error).__name__}", str(error))


def _session(data: bytes, path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # they change the last bit
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _feeds(session: Any, rng: Random) -> Iterator[dict[str, Any]]:
    """Yields inputs at two assignments of sizes to names, at one where no size has a name."""
    inputs = session.get_inputs()
    named = any(not isinstance(size, int) for info in inputs for size in info.shape)
    for _ in range(2 if named else 1):
        sizes: dict[Any, int] = {}
        feed = {}
        for info in inputs:
            shape = [
                size if isinstance(size, int) else sizes.setdefault(size or object(), rng.choice([1, 2, 3, 4, 5, 6, 8]))
                for size in info.shape
            ]
            if np.prod([float(size) for size in shape]) > _MOST_ELEMENTS or min(shape, default=0) < 0:
                return
            try:
                feed[info.name] = _values(np.random.default_rng(rng.randrange(1 << 30)), shape, info.type)
            except TypeError:  # a sequence, or an element type that numpy does not have
                return
        yield feed


def _values(generator: np.random.Generator, shape: list[int], kind: str) -> Any:
    name = kind.removeprefix("tensor(").removesuffix(")")
    dtype = np.dtype({"float": "float32", "double": "float64", "string": "object"}.get(name, name))
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    if dtype.kind == "O":
        return generator.integers(0, 9, shape).astype(str).astype(object)
    return generator.integers(0, 2 if dtype.kind == "b" else 3, shape).astype(dtype)


def _is_valid(data: bytes, *, types: bool = False) -> bool:
    try:
        onnx.checker.check_model(data, full_check=types)
    except Exception:  # ValidationError, or protobuf's
        return False
    return True


def _difference(expected: Sequence[Any], actual: Sequence[Any], tolerance: float) -> str | None:
    if len(expected) != len(actual):
        return f"{len(expected)} outputs became {len(actual)}"
    for number, (first, second) in enumerate(zip(expected, actual, strict=True)):
        if isinstance(first, list):
            if not isinstance(second, list) or (found := _difference(first, second, tolerance)):
                return f"output {number}: {found if isinstance(second, list) else 'no sequence any more'}"
        elif isinstance(first, np.ndarray):
            if (first.shape, first.dtype) != (second.shape, second.dtype):
                return f"output {number}: {first.dtype} {first.shape} became {second.dtype} {second.shape}"
            if not _is_close(first, second, tolerance):
                return f"output {number}: other values, shape {first.shape}"
    return None


def _is_close(first: Any, second: Any, tolerance: float) -> bool:
    if first.dtype.kind == "O":
        return tolerance > 0 or bool(first.tolist() == second.tolist())
    if first.tobytes() == second.tobytes() or math.isinf(tolerance):
        return True
    if not tolerance or first.dtype.kind != "f":
        return False
    left, right = first.astype(np.float64), second.astype(np.float64)
    largest = float(np.abs(left).max(where=np.isfinite(left), initial=0.0))
    return np.allclose(left, right, rtol=tolerance, atol=tolerance * largest, equal_nan=True)


def _tolerance(model: Any) -> float:
    """Returns by how much the outputs of a model may differ, relative to their largest.

    Nothing, but where it draws random numbers, and where it computes in half precision: onnxruntime then leaves out
    roundings between operators that it cannot leave out of a constant.
    """
    graphs = (model.graph, *model.functions.values())
    nodes = [node for graph in graphs for node in graph.all_nodes()]
    if _RANDOM & {node.op_type for node in nodes}:
        return math.inf
    values = [*model.graph.inputs, *model.graph.initializers.values(), *(v for node in nodes for v in node.outputs)]
    named = {str(value.dtype) for value in values} | {
        str(ir_type) for node in nodes for ir_type in _types_in(node.attributes.values())
    }
    return 0.01 if named & {"FLOAT16", "BFLOAT16"} else 0.0


def _types_in(attributes: Iterable[Any]) -> Iterator[Any]:
    import onnx_ir as ir

    for attribute in attributes:
        if attribute.name in ("to", "dtype") and attribute.type == ir.AttributeType.INT and attribute.value in (10, 16):
            yield ir.DataType(attribute.value)
        elif attribute.type == ir.AttributeType.TENSOR:
            yield attribute.as_tensor().dtype
