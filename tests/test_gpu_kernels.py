"""What the GPU benchmark compares with: its peers compute the operators, and without a GPU it says so."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import gpu_kernels
from gpu.peers import assigned, indexed
from gpu.problem import DTYPES, SHAPES, Problem, problems

SMALL = ((2, 8, 5, 6), (1, 5, 1, 9), (3, 36, 13, 2))


@pytest.mark.parametrize("problem", list(problems(SMALL, DTYPES)), ids=str)
def test_peers_compute_the_operator(problem: Problem) -> None:
    inputs = problem.inputs("cpu")
    arrays = [tensor.float().numpy() for tensor in inputs]
    expected = problem.op.reference(problem.configuration, *arrays)
    tolerance = 1e-5 if problem.dtype == "float32" else 2e-2
    for solve in (assigned(problem), indexed(problem, "cpu")):
        got = solve(*inputs).float().numpy()
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * 3)


def test_the_shape_with_a_goal_is_measured_and_its_bytes_are_those_of_its_tensors() -> None:
    assert gpu_kernels.GOAL_SHAPE in SHAPES
    for problem in problems(SMALL[:1], ("float16",)):
        inputs = problem.inputs("cpu")
        output = assigned(problem)(*inputs)
        weights = sum(tensor.nbytes for tensor in inputs[1:])
        total = sum(tensor.nbytes for tensor in inputs) + (output.nbytes if output.ndim == 4 else 0)
        assert problem.bytes_moved == total - weights


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_kernels.py"])
    assert gpu_kernels.main() == 1
    assert "nothing was run" in capsys.readouterr().err
