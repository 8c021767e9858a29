"""How the work is shown: stage lines while it runs, numbers for people, one JSON document for programs."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

_NAME_WIDTH = 9
_SECONDS_WIDTH = 7


@dataclasses.dataclass(frozen=True)
class StageRecord:
    """A stage that is over: its name, how long it took, and what its line said."""

    name: str
    seconds: float
    detail: str


@dataclasses.dataclass
class Stage:
    """A stage of the work while it runs.

    Attributes:
        now: Tells a terminal which part is running.
        count: Tells a terminal how many parts of how many are done, as a bar.
        detail: Sizes and counts, shown on the stage's line.
        notes: Further lines shown below it.
    """

    now: Callable[[str], None]
    count: Callable[[int, int], None] = lambda done, total: None
    detail: str = ""
    notes: list[str] = dataclasses.field(default_factory=list)


class Reporter:
    """Tells how far the work is, one line per stage; without a stream it only keeps the times.

    Args:
        stream: Where lines go. On a terminal a running stage is shown with its elapsed time.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self.stages: list[StageRecord] = []

    @contextmanager
    def stage(self, name: str, doing: str) -> Iterator[Stage]:
        """Times a stage and prints its line when it has succeeded.

        Args:
            name: One word for the finished line.
            doing: What a terminal shows meanwhile, e.g. ``capturing the model``.
        """
        started = time.perf_counter()
        with self._progress(doing) as stage:
            yield stage
        seconds = time.perf_counter() - started
        self.stages.append(StageRecord(name, seconds, stage.detail))
        self.line(f"{name:<{_NAME_WIDTH}} {format_seconds(seconds):>{_SECONDS_WIDTH}}  {stage.detail}".rstrip())
        for note in stage.notes:
            self.line(indent(note, _NAME_WIDTH + _SECONDS_WIDTH + 3))

    def line(self, text: str = "") -> None:
        """Prints a line of text as it is."""
        if self._stream is not None:
            print(text, file=self._stream, flush=True)

    @contextmanager
    def _progress(self, doing: str) -> Iterator[Stage]:
        if self._stream is None or not self._stream.isatty():
            yield Stage(lambda part: None)
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        spinner, text, elapsed = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
        with Progress(spinner, text, elapsed, console=Console(file=self._stream), transient=True) as progress:
            task = progress.add_task(doing, total=None)

            def count(done: int, total: int) -> None:
                progress.columns = (spinner, text, BarColumn(), MofNCompleteColumn(), elapsed)
                progress.update(task, completed=done, total=total)

            yield Stage(lambda part: progress.update(task, description=f"{doing}: {part}"), count)


def format_seconds(seconds: float) -> str:
    """Returns a duration as ``0.3 s`` or ``2:05 min``."""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min"


def format_bytes(count: int) -> str:
    """Returns a size in decimal units, e.g. ``8.5 MB``."""
    if count < 1000:
        return f"{count} B"
    for unit in ("kB", "MB"):
        count_in_unit = count / {"kB": 1e3, "MB": 1e6}[unit]
        if count_in_unit < 999.95:
            return f"{count_in_unit:.1f} {unit}"
    return f"{count / 1e9:.1f} GB"


def format_table(rows: Iterable[Iterable[str]]) -> list[str]:
    """Returns rows of cells as lines with aligned columns."""
    cells = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def indent(text: str, spaces: int) -> str:
    """Returns the text with every line moved to the right."""
    return "\n".join(" " * spaces + line for line in text.splitlines())


def to_json(value: object) -> str:
    """Returns results as one JSON document.

    Dataclasses become objects, by their own `to_dict` where they have one; paths and enumerations become text, and
    so does a float that JSON lacks (NaN, Inf).
    """
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return _plain(value.to_dict())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Path):
        return str(value)
    return value
