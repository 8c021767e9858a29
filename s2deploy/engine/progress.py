"""How far a build is: TensorRT tells it in the building process, a file carries it, the waiting process reads it.

From TensorRT 9 on the builder calls a monitor at every step and stops where that says so. RTX does both too, though it
spends nearly all of its time in one step, during which it can only be killed.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROGRESS = "progress.json"
_SECONDS_BETWEEN = 0.1


@dataclass(frozen=True)
class Phase:
    """What TensorRT is doing.

    Attributes:
        name: Its own word for it, the innermost phase.
        done: Steps done of the innermost phase that has several.
        total: Its number of steps; 1 where no phase has several.
    """

    name: str
    done: int
    total: int


class Progress:
    """The building process's side.

    Args:
        path: The file that carries it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._phases: dict[str, tuple[int, int]] = {}  # steps done and in all, outermost first
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._next = 0.0

    def stop(self) -> None:
        """Makes the builder stop at its next step."""
        self._stopped.set()

    def monitor(self, trt: Any) -> Any:
        """Returns what a ``tensorrt.IBuilderConfig`` takes as `progress_monitor`; None where TensorRT has none.

        It must live as long as the builder. TensorRT may call it from several threads.

        Args:
            trt: The Python module.
        """
        base: Any = getattr(trt, "IProgressMonitor", None)
        if base is None:
            return None
        progress = self

        class Monitor(base):  # type: ignore[misc]
            def __init__(self) -> None:
                base.__init__(self)

            def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
                progress._at(phase_name, 0, num_steps)

            def step_complete(self, phase_name: str, step: int) -> bool:
                progress._at(phase_name, step + 1, None)
                return not progress._stopped.is_set()

            def phase_finish(self, phase_name: str) -> None:
                with progress._lock:
                    progress._phases.pop(phase_name, None)

        return Monitor()

    def _at(self, name: str, done: int, total: int | None) -> None:
        with self._lock:
            known = self._phases.get(name, (0, 1))[1]
            self._phases[name] = (done, known if total is None else total)
            now = time.monotonic()
            if now < self._next:
                return
            self._next = now + _SECONDS_BETWEEN
            steps = next((steps for steps in reversed(self._phases.values()) if steps[1] > 1), (0, 1))
            phase = Phase(next(reversed(self._phases)), *steps)
            draft = self._path.with_suffix(".draft")
            with suppress(OSError):  # a full disk is told when the plan is written
                draft.write_text(json.dumps(asdict(phase)), encoding="utf-8")
                os.replace(draft, self._path)


def follow(path: Path, ended: Callable[[float], bool], tell: Callable[[Phase], None]) -> None:
    """Tells every phase that is seen until the building process has ended.

    Args:
        path: The file that carries it.
        ended: Waits for the process for a number of seconds and returns whether it has ended.
        tell: Called with every phase that is not the last one told.
    """
    last = None
    while not ended(_SECONDS_BETWEEN):
        with suppress(OSError, ValueError):  # not there yet, or not whole where renaming is no single step
            phase = Phase(**json.loads(path.read_text(encoding="utf-8")))
            if phase != last:
                tell(phase)
            last = phase
