"""`bench`: real artifacts in processes of their own, and what happens when one is missing, wrong or broken."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from small_models import make, save

import s2deploy
from s2deploy import pipeline
from s2deploy.benchmark import Agreement
from s2deploy.cli import cli
from s2deploy.errors import ArtifactError, InputSpecError, S2DeployError, UsageError
from s2deploy.pipeline import bench_process, bench_serve
from s2deploy.pipeline.bench_agreement import compare
from s2deploy.pipeline.bench_process import CandidateProcess, First, Reference
from s2deploy.pipeline.bench_runners import Way
from s2deploy.specs import Tolerance

SHIFTS = Path(__file__).parent / "models" / "shifts.py"


@pytest.fixture
def double(tmp_path: Path) -> Path:
    model = make("(float[batch,3] x) => (float[batch,3] y)", "y = Add(x, x)")
    return save(model, tmp_path / "double.onnx", inputs='["x:batch=1..4..6,3"]')


@pytest.fixture
def other(tmp_path: Path) -> Path:
    model = make("(float[4,3] input) => (float[4,3] out)", "out = Mul(input, two)", {"two": np.array(2, np.float32)})
    return save(model, tmp_path / "other.onnx")


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    model = make("(float[batch,3] x) => (float[batch,3] y)", "y = Mul(x, three)", {"three": np.array(3, np.float32)})
    return save(model, tmp_path / "wrong.onnx")


def test_files_are_measured_compared_and_drawn(double: Path, other: Path, tmp_path: Path) -> None:
    plot = tmp_path / "latency.svg"
    result = pipeline.bench([double, other], rounds=3, threads=1, plot=plot)
    assert result.passed
    assert (result.baseline, result.rounds, result.threads) == ("double.onnx", 3, 1)
    assert result.inputs == {"x": ("float32", (4, 3))}
    first, second = result.measurements
    assert (first.label, first.runner, first.agreement) == ("double.onnx", "onnxruntime", None)
    assert first.backend.startswith("onnxruntime ")
    assert (first.ratio.value, first.ratio.low, first.ratio.high) == (1.0, 1.0, 1.0)
    assert second.agreement is not None
    assert (second.agreement.passed, second.agreement.worst) == (True, 0.0)
    assert second.ratio.value == pytest.approx(second.median_ms / first.median_ms)
    for entry in result.measurements:
        assert 0 < entry.least_ms <= entry.median_ms <= entry.p90_ms <= entry.p99_ms
        assert entry.calls == 3 * 25
        assert entry.cpu_ms is not None
        assert entry.cpu_ratio is not None
        assert entry.cpu_ratio.value == pytest.approx(entry.cpu_ms / (first.cpu_ms or 0))
        assert 10_000_000 < entry.before_bytes <= entry.peak_bytes
        assert entry.device_ms is None
    assert [stage.name for stage in result.stages] == ["open", "first", "measure"]
    texts = [entry.text for entry in ElementTree.parse(plot).getroot().iter()]
    assert {"double.onnx", "other.onnx"} <= set(texts)


def test_a_wrong_graph_is_no_win(double: Path, wrong: Path) -> None:
    result = pipeline.bench({"right": double, "faster": wrong}, rounds=1, threads=1)
    assert not result.passed
    agreement = result.measurements[1].agreement
    assert agreement is not None
    assert agreement.failed
    assert agreement.worst == pytest.approx(0.5)
    assert "output 'y'" in str(agreement.reason)


def test_what_cannot_be_measured_is_reported_and_the_others_are_measured(double: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    two = save(make("(float[4,3] a, float[4,3] b) => (float[4,3] y)", "y = Add(a, b)"), tmp_path / "two.onnx")
    result = pipeline.bench([double, broken, two], rounds=1, threads=1)
    assert not result.passed
    assert [entry.label for entry in result.measurements] == ["double.onnx"]
    assert [failure.label for failure in result.failures] == ["broken.onnx", "two.onnx"]
    assert "cannot load" in result.failures[0].message
    assert "has 2 inputs" in result.failures[1].message
    with pytest.raises(S2DeployError, match=r"broken\.onnx, the baseline, cannot be measured"):
        pipeline.bench([double, broken], rounds=1, baseline="broken.onnx")


def test_the_command_prints_a_table_and_its_exit_code_tells_what_came_out(double: Path, wrong: Path) -> None:
    arguments = ["bench", str(double), str(wrong), "--rounds", "1", "--threads", "1"]
    shown = CliRunner().invoke(cli, arguments)
    assert shown.exit_code == 1
    assert re.search(r"from\.\.to +cpu +ratio ", shown.stdout)
    assert "cpu: median processor time" in shown.stdout
    assert "✗ wrong.onnx computes something else: output 'y'" in shown.stdout
    assert "Traceback" not in shown.output
    good = CliRunner().invoke(cli, [*arguments[:2], *arguments[3:], "--input", "x:batch=1..2..5,3", "--json"])
    assert good.exit_code == 0
    document = json.loads(good.stdout)
    assert document["inputs"] == {"x": ["float32", [2, 3]]}
    assert {"median_ms", "p90_ms", "p99_ms", "ratio", "peak_bytes"} <= set(document["measurements"][0])
    assert document["conditions"]["cores"] >= 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"artifacts": []}, "nothing to measure"),
        ({"artifacts": "double.onnx"}, "one text, not a list"),
        ({"artifacts": ["missing.onnx"]}, "no such file"),
        ({"artifacts": ["missing.py:Model"]}, "no such file"),
        ({"twice": True}, "is given 2 times"),
        ({"baseline": "another"}, "the baseline 'another' is not measured"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"seconds": 0.0}, "seconds must be above 0"),
        ({"rounds": 1, "seconds": 1.0}, "both given"),
        ({"patience": -1.0}, "patience must be at least 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"compiled": "double.onnx"}, "compiled is one text, not a list"),
        ({"compiled": ["torch"]}, "compiled names 'torch', which is no PyTorch model"),
        ({"compiled": ["double.onnx"]}, "compiled names 'double.onnx', which is no PyTorch model"),
        ({"kwargs": {"depth": object()}}, "kwargs cannot be told to the processes.*object is not JSON"),
        ({"device": "gpu"}, "there is no device 'gpu'"),
        ({"plot": "latency.png"}, "is no .svg"),
        ({"plot": "nowhere/latency.svg"}, "does not exist"),
        ({"inputs": ["x:3"], "value_ranges": ["y=0..1"]}, "there is no input 'y'"),
    ],
)
def test_wrong_usage_is_refused_before_anything_starts(
    double: Path, arguments: dict[str, object], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: CandidateProcess) -> None:
        pytest.fail("a process was started")

    monkeypatch.setattr(CandidateProcess, "open", start)
    given = [double, double] if arguments.pop("twice", False) else [double]
    with pytest.raises(UsageError, match=words) as caught:
        pipeline.bench(**{"artifacts": given, **arguments})  # type: ignore[arg-type]
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_inputs_nobody_declares_must_be_given(tmp_path: Path) -> None:
    model = save(make("(float[n,3] x) => (float[n,3] y)", "y = Add(x, x)"), tmp_path / "open.onnx")
    with pytest.raises(InputSpecError, match="no artifact says") as caught:
        pipeline.bench([model], rounds=1)
    assert '--input "x:' in str(caught.value.hint)
    assert pipeline.bench([model], inputs=["x:2,3"], rounds=1, threads=1).inputs["x"] == ("float32", (2, 3))


def test_floating_point_types_are_given_as_each_takes_them(double: Path, tmp_path: Path) -> None:
    half = save(make("(float16[4,3] x) => (float16[4,3] y)", "y = Add(x, x)"), tmp_path / "half.onnx")
    result = pipeline.bench([double, half], rounds=1, threads=1)
    agreement = result.measurements[1].agreement
    assert agreement is not None
    assert agreement.passed
    assert agreement.worst is not None
    assert 0 < agreement.worst < 1e-3


def test_value_ranges_keep_indices_inside(tmp_path: Path) -> None:
    model = make("(int64[5] i) => (float[5,2] y)", "y = Gather(w, i)", {"w": np.ones((4, 2), np.float32)})
    save(model, tmp_path / "gather.onnx")
    result = pipeline.bench([tmp_path / "gather.onnx"], value_ranges=["i=3..3"], rounds=1, threads=1)
    assert result.inputs == {"i": ("int64", (5,))}
    with pytest.raises(S2DeployError, match="the baseline, cannot be measured"):
        pipeline.bench([tmp_path / "gather.onnx"], value_ranges=["i=9..9"], rounds=1, threads=1)


def test_eager_runs_as_the_user_runs_it_and_is_no_reference_where_it_overlaps(tmp_path: Path) -> None:
    exported = tmp_path / "shift.onnx"
    s2deploy.export(f"{SHIFTS}:Shift", exported, inputs=["x:2,4,9,8"])
    result = pipeline.bench([exported, f"{SHIFTS}:Shift"], rounds=1, threads=1)
    assert result.passed
    ours, eager = result.measurements
    assert eager.label == "shifts.py:Shift eager"
    assert eager.backend.startswith("torch eager ")
    assert ours.agreement is not None
    assert ours.agreement.passed
    assert eager.agreement is not None
    assert eager.agreement.undefined
    assert not eager.agreement.passed, "a forward overlapping copy smears on the processor"
    assert ours.peak_bytes < eager.peak_bytes, "the process of an ONNX file imports no torch"


def way(path: Path) -> Way:
    return Way("x", str(path), "onnxruntime", 1)


def test_a_process_that_dies_is_an_error_that_says_what_it_did(double: Path, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    with CandidateProcess(way(double), tmp_path / "scratch") as candidate:
        candidate.open()
        os.kill(candidate.pid, signal.SIGKILL)
        with pytest.raises(S2DeployError, match=r"x: its process was killed.*while being measured") as caught:
            candidate.turn(1, 0)
        assert "in memory together" in str(caught.value.hint)


def test_a_turn_is_over_when_no_thread_computes_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([0.0, 0.001, 0.001, 0.0018, 0.0018, 0.0019])
    slept: list[float] = []
    monkeypatch.setattr(bench_serve.time, "process_time", lambda: next(readings))
    monkeypatch.setattr(bench_serve.time, "sleep", slept.append)
    bench_serve.become_still()
    assert next(readings, None) is None
    assert slept == [0.001] * 3


def test_an_interrupt_ends_all_processes_and_leaves_nothing(double: Path, tmp_path: Path) -> None:
    plot = tmp_path / "made" / "latency.svg"
    plot.parent.mkdir()
    command = [sys.executable, "-m", "s2deploy", "bench", str(double), "--seconds", "60", "--plot", str(plot)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2)]
    assert [line.split()[0] for line in lines] == ["open", "first"]
    children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    assert children
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert list(plot.parent.iterdir()) == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def test_numbers_of_onnx_external_data_are_found(tmp_path: Path) -> None:
    weights = np.ones((64, 64), np.float32)
    model = make("(float[2,64] x) => (float[2,64] y)", "y = MatMul(x, w)", {"w": weights})
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    assert pipeline.bench([tmp_path / "m.onnx"], rounds=1, threads=1).passed


STATE = """
import torch

class State(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("last", torch.zeros(1, 4))

    def forward(self, x):
        y = x + self.last
        self.last.copy_(x)
        return y

class EightBits(torch.nn.Module):
    def forward(self, x):
        return (x + 1).to(torch.float8_e4m3fn)
"""


@pytest.fixture
def stateful(tmp_path: Path) -> str:
    path = tmp_path / "stateful.py"
    path.write_text(STATE, encoding="utf-8")
    return f"{path}:"


def test_a_model_that_writes_a_buffer_is_compared_from_its_first_state(stateful: str, tmp_path: Path) -> None:
    exported = tmp_path / "state.onnx"
    assert s2deploy.export(f"{stateful}State", exported, inputs=["x:1,4"]).passed
    result = pipeline.bench([exported, f"{stateful}State"], rounds=1, threads=1)
    assert [entry.agreement for entry in result.measurements] == [Agreement(True, 0.0, None, False)] * 2


def test_new_values_of_buffers_are_compared_where_both_give_them() -> None:
    ways = [Way(label, f"{label}.onnx", "onnxruntime", 1) for label in "abc"]
    y, one, two = np.ones(3, np.float32), np.ones(2, np.float32), np.full(2, 2, np.float32)
    firsts = {
        "a": First({"y": y, "last_out": one}, 0.1, ("last_out",)),
        "b": First({"out": y}, 0.1),
        "c": First({"y": y, "last_out": two}, 0.1, ("last_out",)),
    }
    found = compare(ways, firsts, {}, "a", Tolerance())
    assert found["a"] is None
    assert found["b"] == Agreement(True, 0.0, None, False)
    assert found["c"] is not None
    assert str(found["c"].reason).startswith("output 'last_out'")
    found = compare(ways, firsts, {"b": Reference({"output 0": y}, 0)}, "a", Tolerance())
    assert all(agreement is not None and agreement.passed for agreement in found.values())


def test_outputs_of_8_bits_are_compared(stateful: str) -> None:
    result = pipeline.bench([f"{stateful}EightBits"], inputs=["x:2,4"], rounds=1, threads=1)
    assert [entry.agreement for entry in result.measurements] == [Agreement(True, 0.0, None, False)]


def test_a_full_folder_for_temporary_files_is_named(
    double: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    monkeypatch.setattr(bench_serve, "write_arrays", full)
    monkeypatch.setattr(bench_process, "write_arrays", full)
    with pytest.raises(ArtifactError, match=f"cannot write temporary files to {tmp_path}: File too large"):
        bench_serve._write({}, str(tmp_path / "s2deploy-1" / "0" / "outputs"))
    with pytest.raises(ArtifactError, match=r"cannot write temporary files to .*: File too large") as caught:
        pipeline.bench([double], rounds=1, threads=1)
    assert "TMPDIR" in str(caught.value.hint)


def test_processor_time_leaves_out_waiting(tmp_path: Path) -> None:
    source = tmp_path / "waits.py"
    source.write_text(
        "import time\nfrom torch import nn\nclass Waits(nn.Module):\n"
        "    def forward(self, x):\n        time.sleep(0.1)\n        return x + 1\n"
    )
    (entry,) = pipeline.bench([f"{source}:Waits"], inputs=["x:2,3"], rounds=1, threads=1).measurements
    assert entry.cpu_ms is not None
    assert entry.least_ms >= 100 > 2 * entry.cpu_ms > 0
