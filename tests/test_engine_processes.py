"""Builds as processes of their own that meet each other, are killed, or run out of disk: no older plan is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small_models
from engine_builds import files_of
from small_models import save

from s2deploy.engine import read_sidecar

HERE = Path(__file__).resolve().parent
CACHE = "10.16.0-NVIDIA-Fake-9.0.timings"
OLDER = {"model.plan": b"an older plan", "model.plan.json": b"and its sidecar"}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and locks of POSIX")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(small_models.perceptron(), tmp_path / "model.onnx")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an older plan."""
    folder = tmp_path / "plans"
    folder.mkdir()
    for name, content in OLDER.items():
        (folder / name).write_bytes(content)
    return folder


class Build:
    """``s2deploy build`` with the TensorRT of `fake_site`, which waits for a file."""

    def __init__(self, model: Path, output: Path, entry: str, *options: str, until: str, padding: int = 0) -> None:
        self.begun = model.with_name(f"begun-{entry}")
        asked = {"entry": entry, "begun": str(self.begun), "until": str(model.with_name(until)), "padding": padding}
        path = os.pathsep.join([str(HERE / "fake_site"), str(HERE.parent)])
        self.environment = {**os.environ, "PYTHONPATH": path, "S2DEPLOY_FAKE": json.dumps(asked)}
        self.command = [sys.executable, "-m", "s2deploy", "build", str(model), "-o", str(output), *options]
        self.command += ["--target", "tensorrt"]

    def start(self) -> Build:
        self.process = subprocess.Popen(
            self.command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return self

    def builder_pid(self) -> int:
        """Waits until the building process has begun and returns its number."""
        wait(self.begun.exists)
        return int(self.begun.read_text(encoding="utf-8"))

    def end(self) -> tuple[int, str]:
        said, _ = self.process.communicate(timeout=120)
        return self.process.returncode, said


def wait(until) -> None:
    latest = time.monotonic() + 60
    while not until():
        assert time.monotonic() < latest
        time.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_parallel_builds_share_a_damaged_cache_and_an_output(model: Path, folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "timings"
    cache.mkdir()
    (cache / CACHE).write_bytes(b"damaged")
    options = ("--timing-cache", str(cache))
    plan = folder / "model.plan"
    builds = [
        Build(model, plan, "one", *options, until="begun-two").start(),
        Build(model, plan, "two", *options, until="begun-one", padding=7).start(),
    ]
    for build in builds:
        code, said = build.end()
        assert code == 0, said
        assert "is damaged, so it starts anew" in said
    assert (cache / CACHE).read_bytes()[32:] == b"one two"
    assert read_sidecar(plan).target == "tensorrt"  # which checks that it is the plan's own
    assert files_of(folder) == set(OLDER)


def test_a_killed_building_process_is_told_and_leaves_nothing(model: Path, folder: Path) -> None:
    build = Build(model, folder / "model.plan", "one", until="never").start()
    os.kill(build.builder_pid(), signal.SIGKILL)
    code, said = build.end()
    assert code == 1
    assert "TensorRT's process was killed" in said
    assert contents_of(folder) == OLDER


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_build_stops_at_a_step_and_keeps_what_it_measured(
    model: Path, folder: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    build = Build(model, folder / "model.plan", "one", "--timing-cache", str(tmp_path / "timings"), until="never")
    builder = build.start().builder_pid()
    time.sleep(0.3)  # for the first step to be told
    build.process.send_signal(number)
    ended, said = build.end()
    assert ended == code, said
    if number == signal.SIGINT:
        assert said == "interrupted; no partial file is left\n"
    wait(lambda: not lives(builder))
    assert contents_of(folder) == OLDER
    assert (tmp_path / "timings" / CACHE).read_bytes()[32:] == b"one"


def test_the_builder_ends_with_a_killed_parent_whose_leftovers_the_next_build_removes(
    model: Path, folder: Path
) -> None:
    plan = folder / "model.plan"
    build = Build(model, plan, "one", until="never").start()
    builder = build.builder_pid()
    build.process.kill()
    build.end()
    wait(lambda: not lives(builder))
    assert OLDER.items() <= {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}.items()
    (left,) = (path for path in folder.iterdir() if path.is_dir())
    os.utime(left, (0, 0))  # as if it had been left an hour ago
    code, said = Build(model, plan, "two", until="model.onnx").start().end()
    assert code == 0, said
    assert files_of(folder) == set(OLDER)
    assert read_sidecar(plan).precision == "fp32"


def test_a_disk_that_is_full_leaves_the_older_plan(model: Path, folder: Path, tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=1m none {tmp_path}/disk"
    (tmp_path / "disk").mkdir()
    own = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if shutil.which(own[0]) is None or subprocess.run([*own, mount], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount a small disk")
    build = Build(model, tmp_path / "disk" / "model.plan", "one", until="model.onnx", padding=2 << 20)
    script = f'{mount} && cp {folder}/* {tmp_path}/disk && "$@"; echo "code $?"; cp -R {tmp_path}/disk {tmp_path}/seen'
    build.command = [*own, script, "sh", *build.command]
    code, said = build.start().end()
    assert code == 0, said
    assert "the disk is full" in said
    assert "code 1" in said
    assert contents_of(tmp_path / "seen") == OLDER
