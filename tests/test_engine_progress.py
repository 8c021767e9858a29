"""How far a build is, from TensorRT's own words to the terminal, and how a build is stopped."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
import types
from pathlib import Path

import pytest
import small_models
from engine_builds import carry_out, files_of, needs_rtx, options, request
from small_models import save

from s2deploy import pipeline
from s2deploy.engine import build
from s2deploy.engine.progress import Phase, Progress, follow
from s2deploy.report import Reporter
from s2deploy.specs import Target

TRT = types.SimpleNamespace(IProgressMonitor=type("IProgressMonitor", (), {}))


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2deploy.engine.progress._SECONDS_BETWEEN", 0.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(path: Path) -> Phase:
    return Phase(**json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.usefixtures("prompt")
def test_the_innermost_phase_is_told_with_the_steps_of_the_innermost_that_has_several(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    monitor = Progress(path).monitor(TRT)
    monitor.phase_start("Building engine", None, 6)
    assert told(path) == Phase("Building engine", 0, 6)
    monitor.phase_start("Timing graph nodes", "Building engine", 300)
    assert monitor.step_complete("Timing graph nodes", 41)
    assert told(path) == Phase("Timing graph nodes", 42, 300)
    monitor.phase_finish("Timing graph nodes")
    monitor.phase_start("Determining refit engines", "Building engine", 1)
    assert told(path) == Phase("Determining refit engines", 0, 6)
    assert monitor.step_complete("Building engine", 2)
    assert told(path) == Phase("Determining refit engines", 3, 6)
    assert files_of(tmp_path) == {"progress.json"}


def test_steps_are_written_ten_times_a_second_at_most(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    monitor = Progress(path).monitor(TRT)
    monitor.phase_start("one", None, 2)
    monitor.phase_start("two", "one", 2)
    assert told(path) == Phase("one", 0, 2)


@pytest.mark.usefixtures("prompt")
def test_a_builder_is_stopped_at_its_next_step(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "progress.json")
    monitor = progress.monitor(TRT)
    monitor.phase_start("Building engine", None, 6)
    assert monitor.step_complete("Building engine", 0) is True
    progress.stop()
    assert monitor.step_complete("Building engine", 1) is False


@pytest.mark.usefixtures("prompt")
def test_threads_and_a_folder_that_is_gone_do_no_harm(tmp_path: Path) -> None:
    monitor = Progress(tmp_path / "gone" / "progress.json").monitor(TRT)

    def work(name: str) -> None:
        monitor.phase_start(name, None, 200)
        for step in range(200):
            monitor.step_complete(name, step)
        monitor.phase_finish(name)

    threads = [threading.Thread(target=work, args=(f"phase {index}",)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert monitor.step_complete("phase 0", 0)


def test_a_phase_is_told_once_and_half_a_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    contents = iter(["", '{"name": "one", "done"', *['{"name": "one", "done": 1, "total": 2}'] * 3])
    seen: list[Phase] = []

    def ended(seconds: float) -> bool:
        content = next(contents, None)
        if content:
            path.write_text(content, encoding="utf-8")
        return content is None

    follow(path, ended, seen.append)
    assert seen == [Phase("one", 1, 2)]


@pytest.mark.parametrize(("version", "has"), [("8.5", False), ("9.3", True), ("10.16", True), ("11.1", True)])
def test_every_family_gets_a_monitor_that_has_one(tmp_path: Path, version: str, has: bool) -> None:
    calls, _ = carry_out(version, request(tmp_path, version, timing_cache=str(tmp_path / "timings")))
    assert any(call[0] == "IBuilderConfig.progress_monitor" for call in calls) is has
    assert (tmp_path / "model.progress").is_file() is has


@needs_rtx
def test_the_real_builder_tells_its_phases(tmp_path: Path) -> None:
    path = save(small_models.perceptron(), tmp_path / "model.onnx")
    seen: list[Phase] = []
    build(path, tmp_path / "model.plan", options(target=Target.RTX), on_phase=seen.append)
    assert seen
    assert all(0 <= phase.done <= phase.total for phase in seen)
    assert {"Building engine", "Determining refit engines"} & {phase.name for phase in seen}


@needs_rtx
def test_the_real_builder_stops_when_it_is_interrupted(tmp_path: Path) -> None:
    path = save(small_models.perceptron(), tmp_path / "model.onnx")
    pids: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        build(
            path, tmp_path / "model.plan", options(target=Target.RTX), on_start=pids.append,
            on_phase=lambda phase: signal.raise_signal(signal.SIGINT),
        )  # fmt: skip
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    assert files_of(tmp_path) == {"model.onnx"}


@needs_rtx
@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_a_terminal_shows_the_phases_and_a_file_does_not(tmp_path: Path, kind: type[io.StringIO]) -> None:
    path = save(small_models.perceptron(), tmp_path / "model.onnx")
    stream = kind()
    pipeline.build(path, tmp_path / "model.plan", target="rtx", capabilities=["8.6"], reporter=Reporter(stream))
    shown = stream.getvalue()
    assert ("building the engine" in shown) is (kind is Terminal)
    assert "rtx fp32" in shown.splitlines()[-1]
