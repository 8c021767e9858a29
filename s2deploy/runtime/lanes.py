"""Executions of an engine, shared by the threads that call it: one thread uses one at a time, and they are kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from s2deploy.errors import S2DeployError
from s2deploy.runtime.execution import Engine, Execution, Shape

MOST_GRAPHS = 8


class _Lane:
    """What one thread uses at a time: one execution for all shapes, or with CUDA graphs one for each."""

    def __init__(self, engine: Engine, graphs: bool, most: int) -> None:
        self._engine, self._graphs, self._most = engine, graphs, most
        self._executions: OrderedDict[object, Execution] = OrderedDict()

    def execution(self, profile: int, shapes: Mapping[str, Shape]) -> Execution:
        """Returns the execution for these shapes; the one unused for longest makes room for a new one."""
        key = (profile, tuple(shapes.items())) if self._graphs else None
        if key not in self._executions:
            while len(self._executions) >= self._most:
                self._executions.popitem(last=False)[1].close()
            self._executions[key] = Execution(self._engine, graphs=self._graphs)
        self._executions.move_to_end(key)
        return self._executions[key]

    def close(self) -> None:
        """Frees the executions."""
        while self._executions:
            self._executions.popitem()[1].close()


class Lanes:
    """As many lanes as threads that call at the same time; with one context, they take turns.

    Args:
        engine: The engine.
        graphs: Whether every shape gets an execution of its own, with a CUDA graph.
        one_context: Whether there may be one context at a time.
    """

    def __init__(self, engine: Engine, graphs: bool, *, one_context: bool) -> None:
        self._engine: Engine | None = engine
        self._graphs = graphs
        self._most_graphs = 1 if one_context else MOST_GRAPHS
        self._turns = threading.Semaphore(1) if one_context else None
        self._lock = threading.Lock()
        self._idle: list[_Lane] = []

    @contextmanager
    def borrow(self) -> Iterator[_Lane]:
        """Yields a lane that no other thread uses meanwhile."""
        if self._turns is not None:
            self._turns.acquire()
        try:
            with self._lock:
                if self._engine is None:
                    raise S2DeployError("the session is closed", hint="load the artifact again")
                lane = self._idle.pop() if self._idle else _Lane(self._engine, self._graphs, self._most_graphs)
            try:
                yield lane
            except BaseException:
                lane.close()  # its context may be in any state
                raise
            with self._lock:
                keep = self._engine is not None
                if keep:
                    self._idle.append(lane)
            if not keep:
                lane.close()
        finally:
            if self._turns is not None:
                self._turns.release()

    def close(self) -> None:
        """Frees the idle lanes now, and the others when their call is over."""
        with self._lock:
            engine, self._engine = self._engine, None
            idle, self._idle = self._idle, []
        if engine is not None:
            with engine.device.active():
                for lane in idle:
                    lane.close()
                del engine
