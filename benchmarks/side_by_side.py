"""What tables of one operator in two forms share: sessions of one thread that take turns on the same inputs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Returns a session of one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def medians_ms(
    sessions: Sequence[onnxruntime.InferenceSession], feed: Mapping[str, np.ndarray], seconds: float
) -> list[float]:
    """Returns the median time of a call of each session, at least five calls of each in turn."""
    times: list[list[float]] = [[] for _ in sessions]
    for each in sessions:
        each.run(None, dict(feed))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[-1]) < 5:
        for each, taken in zip(sessions, times, strict=True):
            start = time.perf_counter()
            each.run(None, dict(feed))
            taken.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(taken) for taken in times]
