"""Random programs of movement operators, rewritten and compared bit by bit at several sizes."""

from __future__ import annotations

import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_programs import programs
from rewriting import check

from s2deploy.specs import Dim


@settings(max_examples=100, derandomize=True, suppress_health_check=list(HealthCheck))
@given(programs(), st.booleans())
def test_rewrite_preserves_every_bit(program: tuple[onnx.ModelProto, list[dict[str, int]], int], declare: bool) -> None:
    model, assignments, least = program
    ranges = {name: Dim(name, least, least + 5, least + 20) for name in ("H", "W")} if declare or least != 1 else None
    check(model, *assignments, ranges=ranges)
