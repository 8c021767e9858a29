"""ONNX files in a process of their own: what it gives, and what is left when it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from small_models import make

from s2deploy.errors import ArtifactError, S2DeployError
from s2deploy.runtime import Worker, exchange, on_disk, worker


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(make("(float[N,2] x) => (float[N,2] y)", "y = Add(x, x)"), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.array(3, np.int64),
        np.empty((0, 4), np.float16),
        np.array([True, False]),
        np.array([1, 2], ml_dtypes.bfloat16),
        np.array([["a", "bc\0"], ["", "é"]], object),
        np.arange(6.0).reshape(2, 3).T,
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_come_back_as_they_were_and_their_files_are_gone(array: np.ndarray, tmp_path: Path) -> None:
    held = on_disk({"a/b": array}, tmp_path / "arrays")["a/b"]
    assert (held.dtype, held.shape) == (array.dtype, array.shape)
    assert held.tolist() == array.tolist()
    assert list(tmp_path.iterdir()) == []


def test_a_worker_runs_files_in_turn_and_leaves_its_folder_as_it_was(model: Path, folder: Path) -> None:
    other = model.with_name("other.onnx")
    onnx.save(make("(float[N,2] x) => (float[N,2] y)", "y = Mul(x, x)"), other)
    x = np.full((3, 2), 5, np.float32)
    with Worker(folder) as running:
        add, multiply = running.side(model), running.side(other, optimized=False)
        assert [float(side({"x": x})["y"][0, 0]) for side in (add, multiply, add)] == [10, 25, 10]
    assert {path.name for path in folder.iterdir()} == {"log.txt"}


def test_errors_of_the_runtime_come_back_as_ours(model: Path, folder: Path) -> None:
    with Worker(folder) as running:
        with pytest.raises(S2DeployError, match="array has shape"):
            running.side(model)({"x": np.ones(2, np.float32)})
        with pytest.raises(ArtifactError, match="cannot load"):
            running.side(folder / "missing.onnx")({})
        assert running.side(model)({"x": np.ones((1, 2), np.float32)})["y"].tolist() == [[2, 2]]


@pytest.mark.parametrize(
    ("code", "words"), [(signal.SIGKILL, "memory runs out"), (signal.SIGSEGV, r"crashed \(SIGSEGV\)")]
)
def test_a_death_is_an_error_and_the_next_run_starts_again(
    model: Path, folder: Path, code: signal.Signals, words: str
) -> None:
    x = np.ones((1, 2), np.float32)
    with Worker(folder) as running:
        side = running.side(model)
        side({"x": x})
        assert running._process is not None
        os.kill(running._process.pid, code)
        running._process.wait()
        with pytest.raises(S2DeployError, match=words) as caught:
            side({"x": x})
        assert caught.value.hint
        assert side({"x": x})["y"].tolist() == [[2, 2]]


def test_a_full_disk_is_named(model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(worker, "write_arrays", full)
    with Worker(folder) as running, pytest.raises(ArtifactError, match="the disk is full"):
        running.side(model)({"x": np.ones((1, 2), np.float32)})


def test_the_process_ends_with_its_parent(model: Path, folder: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; import numpy; from s2deploy.runtime import Worker\n"
        "running = Worker(Path(sys.argv[1]))\n"
        "running.side(Path(sys.argv[2]))({'x': numpy.ones((1, 2), numpy.float32)})\n"
        "print(running._process.pid, flush=True)\n"
        "os._exit(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, folder, model], stdout=subprocess.PIPE)
    pid = int(done.stdout)
    for _ in range(200):
        status = Path(f"/proc/{pid}/status")
        if not status.exists() or "State:\tZ" in status.read_text():
            return
        signal.sigtimedwait([], 0.05)
    pytest.fail("the worker outlives its parent")


def test_sequences_become_one_output_each_and_other_values_are_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "split.onnx"
    model = make("(float[4] x) => (float[4] y)", "y = Relu(x) s = SplitToSequence(x)")
    sequence = onnx.helper.make_tensor_sequence_value_info("s", onnx.TensorProto.FLOAT, None)
    model.graph.output.append(sequence)
    onnx.save(model, path)
    with Worker(folder) as running:
        outputs = running.side(path)({"x": np.arange(4, dtype=np.float32)})
    assert list(outputs) == ["y", "s[0]", "s[1]", "s[2]", "s[3]"]


def test_exchange_keeps_bytes_of_a_map_whose_file_is_gone(tmp_path: Path) -> None:
    exchange.write_arrays({"x": np.arange(1000)}, tmp_path / "a")
    array = exchange.read_arrays(tmp_path / "a")["x"]
    assert isinstance(array, np.memmap)
    assert int(array.sum()) == 499500
