"""The test cases that the onnx package ships mean the same after the rewrite, bit by bit.

Every case that onnxruntime runs is run as it is and rewritten, in four variants: as shipped, with its integer inputs
frozen into weights (so that the rewriter knows indices and sizes), and both with a name for every size, then also at
larger sizes where the original runs there. Of single operators this last variant needs the frozen inputs. The
reference is the original's own run. ``pytest -s`` prints the counts.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from backend_cases import Case, Feed, cases, frozen, resized, symbolic
from rewriting import assert_close

from s2deploy.rewrite import rewrite

_RANDOM = ("bernoulli", "dropout")  # of their runs only shapes and types are comparable
_NO_LOAD, _NO_RUN, _SAME, _REWRITTEN = "not loaded", "not run", "unchanged", "rewritten"


def _frozen_symbolic(case: Case) -> Case | None:
    known = frozen(case)
    return None if known is None else symbolic(known)


_VARIANTS: dict[str, Callable[[Case], Case | None]] = {
    "as shipped": lambda case: case,
    "frozen": frozen,
    "symbolic": symbolic,
    "frozen symbolic": _frozen_symbolic,
}


@pytest.mark.parametrize(
    ("kind", "variant", "least_run", "least_rewritten"),
    [
        ("node", "as shipped", 1550, 120),
        ("node", "frozen", 600, 60),
        ("node", "symbolic", 400, 70),
        ("node", "frozen symbolic", 600, 40),
        ("simple", "as shipped", 15, 0),
        ("simple", "frozen symbolic", 4, 0),
        ("pytorch-converted", "as shipped", 75, 0),
        ("pytorch-converted", "symbolic", 75, 0),
        ("pytorch-operator", "as shipped", 30, 1),
        ("pytorch-operator", "symbolic", 30, 0),
    ],
)
def test_case_means_the_same_after_the_rewrite(kind: str, variant: str, least_run: int, least_rewritten: int) -> None:
    became: Counter[str] = Counter()
    different = []
    for case in cases(kind):
        if variant == "symbolic" and kind == "node" and "_expanded" not in case.name:
            continue  # a single operator of which nothing is known
        varied = _VARIANTS[variant](case)
        if varied is None:
            continue
        try:
            became[_compared(varied)] += 1
        except Exception as error:  # every difference is worth a line, not only the first
            different.append(f"{case.name}: {type(error).__name__}: {error}")
    print(f"\n{kind}, {variant}: " + ", ".join(f"{count} {what}" for what, count in sorted(became.items())))
    assert not different, "\n".join(different)
    assert became[_SAME] + became[_REWRITTEN] >= least_run
    assert became[_REWRITTEN] >= least_rewritten


def _compared(case: Case) -> str:
    """Compares a case with its rewritten self, and tells in a word what became of it."""
    original = _session(case.model)
    if original is None:
        return _NO_LOAD
    expected = _run(original, case.feed)
    if expected is None:
        return _NO_RUN
    graph = ir.from_proto(case.model)
    report = rewrite(graph)
    result = ir.to_proto(graph)
    assert _interface(result) == _interface(case.model)
    candidate = _session(result)
    assert candidate is not None, "onnxruntime does not load the result"
    exact = not any(name in case.name for name in _RANDOM)
    if any("DFT" in done.before for done in report.rewrites):
        assert_close(expected, _run(candidate, case.feed) or [])  # a transform is a product now
        return _REWRITTEN
    _assert_same(expected, _run(candidate, case.feed), exact=exact)
    if case.is_symbolic:
        feed = resized(case, 3)
        expected = _run(original, feed)
        if expected is not None:
            _assert_same(expected, _run(candidate, feed), exact=exact)
    return _REWRITTEN if report.rewrites else _SAME


def _session(model: onnx.ModelProto) -> Any:
    """Returns a session, None where onnxruntime refuses the model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # they change the last bit
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # its exceptions share no base class
        return None


def _run(session: Any, feed: Feed) -> list[Any] | None:
    """Returns the outputs, those of types numpy does not know as bytes; None where onnxruntime refuses the inputs."""
    try:
        if not any(_is_foreign(info.type) for info in (*session.get_inputs(), *session.get_outputs())):
            return list(session.run(None, dict(feed)))
        names = [info.name for info in session.get_outputs()]
        values = session.run_with_ort_values(names, {name: _wrapped(value) for name, value in feed.items()})
        return [_bytes(value) if _is_foreign(value.data_type()) else value.numpy() for value in values]
    except Exception:  # its exceptions share no base class
        return None


def _is_foreign(kind: str) -> bool:
    return "bfloat16" in kind or "float8" in kind


def _wrapped(array: np.ndarray) -> Any:
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    if array.dtype.kind != "V":
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(f"u{array.itemsize}"), kind)


def _bytes(value: Any) -> np.ndarray:
    shape = (*value.shape(), 2 if "bfloat16" in value.data_type() else 1)
    raw = ctypes.string_at(value.data_ptr(), int(np.prod(shape))) if np.prod(shape) else b""
    return np.frombuffer(raw, np.uint8).reshape(shape)


def _interface(model: onnx.ModelProto) -> tuple[list[str], list[str]]:
    """Returns the names of inputs and outputs; weights, which IR version 3 lists as inputs, are none to a runtime."""
    weights = {tensor.name for tensor in model.graph.initializer} if model.ir_version < 4 else set()
    inputs = [value.name for value in model.graph.input if value.name not in weights]
    return inputs, [value.name for value in model.graph.output]


def _assert_same(expected: Sequence[Any], actual: Sequence[Any] | None, *, exact: bool) -> None:
    assert actual is not None, "onnxruntime does not run the result"
    assert len(expected) == len(actual)
    for first, second in zip(expected, actual, strict=True):
        assert type(first) is type(second)
        if isinstance(first, list):
            _assert_same(first, second, exact=exact)
        elif isinstance(first, np.ndarray):
            assert (first.shape, first.dtype) == (second.shape, second.dtype)
            if exact and first.dtype.kind == "O":
                assert first.tolist() == second.tolist()
            elif exact and first.dtype == np.float16:
                # onnxruntime leaves out roundings between operators that it cannot leave out of a folded constant
                np.testing.assert_allclose(first, second, rtol=2e-3, atol=2e-3)
            elif exact:
                assert first.tobytes() == second.tobytes()
