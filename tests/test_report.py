"""Stage lines, numbers and JSON."""

from __future__ import annotations

import enum
import io
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from s2deploy.report import Reporter, format_bytes, format_seconds, format_table, indent, to_json


class Colour(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Result:
    path: Path
    values: tuple[float, ...]
    colour: Colour = Colour.RED


def test_a_stage_is_one_line_with_its_seconds_and_its_notes_below() -> None:
    stream = io.StringIO()
    reporter = Reporter(stream)
    with reporter.stage("load", "loading the model") as stage:
        stage.detail = "2.1 M parameters"
        stage.notes.append("a note")
    first, second = stream.getvalue().splitlines()
    assert first.split() == ["load", "0.0", "s", "2.1", "M", "parameters"]
    assert second.strip() == "a note"
    assert second.startswith(" ")


def test_a_stage_that_fails_prints_no_line() -> None:
    stream = io.StringIO()
    reporter = Reporter(stream)

    def fail() -> None:
        with reporter.stage("load", "loading"):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - raised two lines above
        fail()
    assert stream.getvalue() == ""
    assert reporter.stages == []


def test_a_reporter_without_a_stream_keeps_the_times() -> None:
    reporter = Reporter()
    with reporter.stage("load", "loading"):
        pass
    assert [stage.name for stage in reporter.stages] == ["load"]


def test_a_terminal_sees_progress_and_then_the_line() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with Reporter(stream).stage("validate", "comparing") as stage:
        stage.now("max")
    assert "comparing: max" in stream.getvalue()
    assert stream.getvalue().rstrip().endswith("s")


def test_a_terminal_sees_how_many_parts_are_done() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with Reporter(stream).stage("run", "running") as stage:
        stage.count(3, 8)
    assert "3/8" in stream.getvalue()
    with Reporter(io.StringIO()).stage("run", "running") as stage:
        stage.count(3, 8)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0 s"), (1.26, "1.3 s"), (99.9, "99.9 s"), (99.96, "1:40 min"), (3600, "60:00 min")]
)
def test_seconds(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (8_500_000, "8.5 MB"), (3 * 10**9, "3.0 GB")],
)
def test_bytes(count: int, text: str) -> None:
    assert format_bytes(count) == text


def test_a_table_aligns_its_columns() -> None:
    assert format_table([("a", "bb", "c"), ("aaa", "b", "")]) == ["a    bb  c", "aaa  b"]
    assert format_table([]) == []


def test_indent_moves_every_line() -> None:
    assert indent("a\nb", 2) == "  a\n  b"


def test_results_become_strict_json() -> None:
    document = json.loads(to_json({"result": Result(Path("a/b"), (1.5, float("nan"), float("inf")))}))
    assert document == {"result": {"path": "a/b", "values": [1.5, "nan", "inf"], "colour": "red"}}
