"""Times calls on a GPU: many of them in one CUDA graph, candidates in turn, the median of many rounds."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch

CALLS = 20
ROUNDS = 15


def time_together(candidates: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Times candidates side by side.

    A graph takes the host out of the time, which otherwise hides short kernels; capturing one also proves that a
    candidate neither allocates outside PyTorch's pool nor synchronises.

    Args:
        candidates: Calls that use the current stream, by name; each has run before.

    Returns:
        Microseconds for one call, the median of `ROUNDS` replays that alternate among the candidates.
    """
    graphs = {}
    for name, call in candidates.items():
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(CALLS):
                call()
        graphs[name] = graph
    times: dict[str, list[float]] = {name: [] for name in graphs}
    for round_number in range(ROUNDS + 2):
        for name, graph in graphs.items():
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            if round_number >= 2:
                times[name].append(begin.elapsed_time(end) * 1000 / CALLS)
    return {name: statistics.median(values) for name, values in times.items()}
