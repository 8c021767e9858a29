"""The kernels, built by CMake and called through ctypes on PyTorch's current stream."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from gpu.peers import Solver
from gpu.problem import DTYPES, Problem
from gpu.triton_peers import weights_shape
from s2deploy.ops import SHIFT_SUM, SPATIAL_SHIFT


class Library:
    """The launchers of `plugins/`.

    Args:
        path: The library that CMake builds from `plugins/benchmark/`.
    """

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.s2deployShiftSumPoolWorkspace.restype = ctypes.c_int64
        self._library.s2deployShiftSumPoolWorkspace.argtypes = [ctypes.c_int64, ctypes.c_int64, ctypes.c_int32]

    def solver(self, problem: Problem, device: str) -> Solver:
        """Returns the operator as a call to its launcher, with memory for the output allocated beforehand."""
        configuration = problem.configuration
        n, c, h, w = problem.shape
        shape = problem.op.output_shape(configuration, problem.input_shape, *weights_shape(problem))
        pools = problem.op not in (SPATIAL_SHIFT, SHIFT_SUM)
        out = torch.empty(shape, device=device, dtype=torch.float32 if pools else getattr(torch, problem.dtype))
        last = int(problem.channels_last)
        needed = self._library.s2deployShiftSumPoolWorkspace(n, c, last) if pools else 0
        workspace = torch.empty(needed, dtype=torch.uint8, device=device)
        nchw = (ctypes.c_int64 * 4)(n, c * problem.branches, h, w)
        groups = (ctypes.c_int32 * len(configuration.groups))(*configuration.groups)
        choice = int(configuration.border) if problem.op is SPATIAL_SHIFT else problem.branches
        launch = getattr(self._library, f"s2deploy{problem.op.name}")

        def solve(*inputs: Tensor) -> Tensor:
            tensors = [*inputs, out, *([workspace] if pools else [])]
            addresses = [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]
            stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
            numbers = (nchw, last, DTYPES.index(problem.dtype), groups, len(groups), choice)
            status = launch(*numbers, *addresses, stream)
            if status:
                raise RuntimeError(f"{problem}: the launcher returned CUDA error {status}")
            return out

        return solve
