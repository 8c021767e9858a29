"""Outputs are checked first and written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from s2deploy import artifacts
from s2deploy.artifacts import check_output, discard_staged, sha256, staged, temporary
from s2deploy.errors import ArtifactError, UsageError


def test_a_good_output_passes_and_leaves_no_trace(tmp_path: Path) -> None:
    check_output(tmp_path / "model.onnx", [tmp_path / "model.py"], needed_bytes=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing/model.onnx", "does not exist"), ("file/model.onnx", "is a file"), (".", "is a folder")],
)
def test_an_output_without_a_folder_is_wrong_usage(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=message):
        check_output(tmp_path / name)


def test_a_device_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="no ordinary file"):
        check_output(tmp_path / "pipe")


def test_an_output_may_not_overwrite_its_source_under_any_name(tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    source.touch()
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="would overwrite"):
        check_output(tmp_path / "link" / "model.onnx", [source])


def test_a_full_disk_is_found_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=10_000))
    with pytest.raises(ArtifactError, match=r"0\.010 MB free, model\.onnx needs at least 5\.000 MB"):
        check_output(tmp_path / "model.onnx", needed_bytes=5_000_000)


def test_a_folder_that_refuses_new_files_is_found_before_the_work() -> None:
    with pytest.raises(ArtifactError, match=r"cannot write /proc/model\.onnx"):
        check_output(Path("/proc/model.onnx"))


def test_a_file_and_its_companion_appear_together_at_the_end(tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"
    with staged(output) as path:
        assert path.name == output.name
        path.write_bytes(b"model")
        path.with_name("model.onnx.data").write_bytes(b"weights")
        assert not output.exists()
    assert output.read_bytes() == b"model"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]


def test_written_files_have_the_permissions_of_ordinary_new_files(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    with staged(tmp_path / "model.onnx") as path:
        path.write_bytes(b"model")
    assert (tmp_path / "model.onnx").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), ValueError("no"), SystemExit(143)])
def test_a_failure_leaves_the_older_file_and_nothing_else(tmp_path: Path, failure: BaseException) -> None:
    output = tmp_path / "model.onnx"
    output.write_bytes(b"older")

    def write() -> None:
        with staged(output) as path:
            path.write_bytes(b"half")
            raise failure

    with pytest.raises(type(failure)):
        write()
    assert output.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [output]


def test_a_disk_that_fills_up_while_writing_is_named(tmp_path: Path) -> None:
    def write() -> None:
        with staged(tmp_path / "model.onnx"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ArtifactError, match="the disk is full"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_cannot_unwind_can_still_discard_its_files(tmp_path: Path) -> None:
    with staged(tmp_path / "model.onnx") as path:
        path.write_bytes(b"half")
        discard_staged()
        assert list(tmp_path.iterdir()) == []
        path.parent.mkdir()
        path.write_bytes(b"whole")
    assert artifacts._staging == set()


def test_what_a_killed_process_left_is_removed_and_what_others_work_on_is_not(tmp_path: Path) -> None:
    output = tmp_path / "model[1].onnx"
    left, young, foreign = (
        tmp_path / f".{name}.s2deploy" for name in ("model[1].onnx.1", "model[1].onnx.2", "m.onnx.3")
    )
    for folder in (left, young, foreign):
        folder.mkdir()
    with staged(output) as path:
        for folder in (left, foreign, path.parent):
            os.utime(folder, (0, 0))
        with staged(output) as other:
            assert set(tmp_path.iterdir()) == {young, foreign, path.parent, other.parent}


def test_files_take_their_place_one_process_at_a_time(tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"

    def write() -> None:
        with staged(output) as path:
            path.write_bytes(b"model")

    writer = threading.Thread(target=write)
    with artifacts._locked(tmp_path) as ours:
        assert ours
        writer.start()
        writer.join(0.3)
        assert writer.is_alive()
        assert not output.exists()
    writer.join(10)
    assert output.read_bytes() == b"model"


def test_a_write_of_numpy_that_fell_short_means_a_full_disk(tmp_path: Path) -> None:
    error = artifacts.cannot_write(tmp_path / "model.onnx", OSError("786432 requested and 321973 written"))
    assert error.message.endswith("the disk is full")


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3_000_000)
    assert sha256(path) == hashlib.sha256(b"x" * 3_000_000).hexdigest()


def test_sha256_of_a_missing_file_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot read"):
        sha256(tmp_path / "missing")


def system_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    "error", [system_error(errno.ENOSPC), system_error(errno.EFBIG), OSError("5 requested and 3 written")]
)
def test_a_full_folder_for_temporary_files_is_named(error: OSError) -> None:
    folders: list[Path] = []

    def work() -> None:
        with temporary() as folder:
            folders.append(folder)
            (folder / "file").touch()
            raise error

    with pytest.raises(ArtifactError, match="cannot write temporary files to ") as caught:
        work()
    assert "TMPDIR" in str(caught.value.hint)
    assert not folders[0].exists()


def test_other_errors_of_the_system_stay_what_they_are() -> None:
    with pytest.raises(FileNotFoundError), temporary() as folder:
        (folder / "none").read_bytes()


def test_a_machine_without_a_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(**_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.TemporaryDirectory", none)
    with pytest.raises(ArtifactError, match="no folder for temporary files: No usable"), temporary():
        pytest.fail("there is none")
