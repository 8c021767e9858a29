"""The models that are mutated: fixtures of several exporters, the models of the tests, and hand-written corners."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from hypothesis import HealthCheck, Phase, given, seed, settings
from onnx import parser

TESTS = Path(__file__).resolve().parents[2] / "tests"
sys.path.insert(0, str(TESTS))

import scatter_chains  # noqa: E402
import small_models  # noqa: E402
from backend_cases import cases, frozen, symbolic  # noqa: E402
from random_programs import programs  # noqa: E402

_PROGRAMS = 120
_MOVEMENT = (
    "cast", "clip", "compress", "concat", "constantofshape", "depthtospace", "expand", "eyelike", "gather", "identity",
    "if", "loop", "nonzero", "onehot", "optional", "pad", "range", "reshape", "reverse", "roll", "scan", "scatter",
    "sequence", "shape", "size", "slice", "split", "squeeze", "tile", "transpose", "unsqueeze", "where",
)  # fmt: skip

_CORNERS = {
    "if": """<ir_version: 10, opset_import: ["": 18]> g (float[N,6] x, bool b) => (float[N,6] y) {
        one = Constant<value_ints = [1]>() big = Constant<value_ints = [9223372036854775807]>()
        zero = Constant<value_ints = [0]>()
        first = Slice(x, zero, one, one) tail = Slice(x, one, big, one) pads = Constant<value_ints = [0,0,0,1]>()
        y = If(b) <
          then_branch = t () => (float[N,6] p) { p = Pad(tail, pads) },
          else_branch = e () => (float[N,6] q) { q = Concat<axis = 1>(first, tail) }
        > }""",
    "function": """<ir_version: 10, opset_import: ["": 18, "local": 1]> g (float[2,N,4] x) => (float[2,N,4] y) {
        a = local.shift<k = 1>(x) y = local.shift<k = 1>(a) }
        <domain: "local", opset_import: ["": 18]> shift<k>(x) => (y) {
        zero = Constant<value_ints = [0]>() one = Constant<value_ints = [1]>() last = Constant<value_ints = [-1]>()
        head = Slice(x, zero, one, one) rest = Slice(x, zero, last, one) y = Concat<axis: int = @k>(head, rest) }""",
    "shadow": """<ir_version: 10, opset_import: ["": 18]> g (float[4] x, bool b) => (float[4] y) {
        a = Neg(x) c = If(b) <then_branch = t () => (float[4] p) { s = Abs(a) p = Identity(s) },
        else_branch = e () => (float[4] q) { s = Neg(a) q = Identity(s) }> y = Identity(c) }""",
    "loop": """<ir_version: 10, opset_import: ["": 18]> g (float[5,3] x) => (float[5,3] y, float[n,1,3] z) {
        count = Constant<value_int = 3>() go = Constant<value_int = 1>() keep = Cast<to = 9>(go)
        zero = Constant<value_ints = [0]>() one = Constant<value_ints = [1]>() last = Constant<value_ints = [-1]>()
        y, z = Loop(count, keep, x) <body = l (int64 i, bool c, float[5,3] v) => (bool d, float[5,3] w, float[1,3] r) {
          d = Identity(c) head = Slice(v, zero, one) rest = Slice(v, zero, last) w = Concat<axis = 0>(head, rest)
          r = Slice(v, zero, one) }> }""",
}


def corpus(*, small: bool = False) -> dict[str, bytes]:
    """Returns every seed by name, serialized; the same ones in the same order each time.

    Args:
        small: Whether to leave out the random programs and the models of the onnx package, most of the seeds.
    """
    found: dict[str, bytes] = {}
    for name, model in (*_small_models(), *(() if small else _large_models())):
        if name not in found:
            found[name] = model.SerializeToString(deterministic=True)
    return found


def _small_models() -> Iterator[tuple[str, onnx.ModelProto]]:
    for path in sorted(TESTS.glob("data/**/*.onnx")):
        yield f"fixture {path.stem}", onnx.load(path)
    for name, text in _CORNERS.items():
        yield f"corner {name}", parser.parse_model(text)
    yield "small chain rows", scatter_chains.rows(6)
    yield "small chain shifts", scatter_chains.shifts(5)
    yield "small chain nested", scatter_chains.nested(4)
    yield "small perceptron", small_models.perceptron("batch")
    yield "small convolution", small_models.convolution()


def _large_models() -> Iterator[tuple[str, onnx.ModelProto]]:
    for number, model in enumerate(_programs()):
        yield f"program {number}", model
    for case in cases("node"):
        if not any(word in case.name for word in _MOVEMENT) or case.model.ByteSize() > 100_000:
            continue
        yield f"backend {case.name}", case.model
        known = frozen(case)
        if known is not None:
            yield f"backend {case.name} frozen", known.model
        named = symbolic(known or case)
        if named is not None:
            yield f"backend {case.name} symbolic", named.model


def _programs() -> list[onnx.ModelProto]:
    drawn: list[onnx.ModelProto] = []

    @seed(0)
    @settings(
        max_examples=_PROGRAMS, phases=[Phase.generate], database=None, deadline=None, suppress_health_check=HealthCheck
    )
    @given(programs())
    def draw(program: Any) -> None:
        drawn.append(program[0])

    draw()
    return drawn
