"""The test cases that the onnx package ships, as models with the inputs they are run on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.test.loader as loader
from onnx import numpy_helper, version_converter

_OLDEST_OPSET, _NEWER_OPSET = 11, 17

Feed = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One model and what it is run on.

    Attributes:
        name: The name the onnx package gives it.
        model: The model, converted to a newer opset where the rewriter does not know its own.
        feed: A value for every input that has no default; a sequence is a list.
        is_symbolic: Whether every size of its inputs has a name.
    """

    name: str
    model: onnx.ModelProto
    feed: Feed
    is_symbolic: bool = False


@cache
def cases(kind: str) -> Sequence[Case]:
    """Returns the cases of one kind, by name."""
    return tuple(_cases(kind))


def _cases(kind: str) -> Iterator[Case]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making the expected values of some of them overflows
        found = loader.load_model_tests(kind=kind)
    for case in sorted(found, key=lambda case: case.name):
        model = case.model if case.model is not None else onnx.load(Path(case.model_dir) / "model.onnx")
        defaults = {tensor.name for tensor in model.graph.initializer}
        inputs = [value for value in model.graph.input if value.name not in defaults]
        if case.data_sets is not None:
            values: Sequence[Any] = case.data_sets[0][0]
        else:
            folder = Path(case.model_dir) / "test_data_set_0"
            values = [_read(folder / f"input_{i}.pb", value) for i, value in enumerate(inputs)]
        feed = {value.name: _array(given) for value, given in zip(inputs, values, strict=True)}
        yield Case(case.name, _modern(model), feed)


def frozen(case: Case) -> Case | None:
    """Returns the case with its integer inputs as weights, so that indices and sizes are known; None without any.

    At least one input stays an input.
    """
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    feed = dict(case.feed)
    for name, value in list(case.feed.items())[::-1]:
        if len(feed) > 1 and isinstance(value, np.ndarray) and value.dtype.kind in "iub":
            model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(feed.pop(name)), name))
    if len(feed) == len(case.feed):
        return None
    kept = [value for value in model.graph.input if value.name in feed or value.name not in case.feed]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return Case(case.name, model, feed)


def symbolic(case: Case) -> Case | None:
    """Returns the case with a name of its own for every size of its inputs; None where there is no size of 1 or more.

    What the file says of the sizes of other values is dropped, ranks included.
    """
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    named = 0
    for number, value in enumerate(model.graph.input):
        if value.name not in case.feed or not value.type.HasField("tensor_type"):
            continue
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_value >= 1 or dim.HasField("dim_param"):
                dim.dim_param = f"n{number}_{axis}"
                named += 1
    if not named:
        return None
    del model.graph.value_info[:]
    for value in model.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    return Case(case.name, model, case.feed, is_symbolic=True)


def resized(case: Case, by: int) -> Feed:
    """Returns what to run a symbolic case on with every floating-point input larger by some steps on every axis."""
    return {
        name: np.resize(value, [size + by for size in value.shape])
        if isinstance(value, np.ndarray) and value.dtype.kind == "f"
        else value
        for name, value in case.feed.items()
    }


def _modern(model: onnx.ModelProto) -> onnx.ModelProto:
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), _NEWER_OPSET)
    if opset >= _OLDEST_OPSET:
        return model
    try:
        return version_converter.convert_version(model, _NEWER_OPSET)
    except Exception:  # the converter does not know every operator; the rewriter then refuses the old one
        return model


def _read(path: Path, value: onnx.ValueInfoProto) -> Any:
    if value.type.HasField("sequence_type"):
        sequence = onnx.SequenceProto()
        sequence.ParseFromString(path.read_bytes())
        return numpy_helper.to_list(sequence)
    return onnx.load_tensor(path)


def _array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return value if value is None or isinstance(value, list) else np.asarray(value)
