"""cpp/ and examples/cpp_pipeline: built, tested, installed and used on stand-ins for TensorRT and CUDA, without a GPU.

The vendor's headers are not part of this project: without ``TensorRT_INCLUDE_DIR`` and ``CUDA_INCLUDE_DIR`` in the
environment these tests are skipped. ``make cpp-test`` runs them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipelines import MEAN, PYTHON_PIPELINE, ROOT, STD, expected_scores, script, write_images, write_model

from s2deploy.errors import TargetUnavailableError
from s2deploy.sidecar import Device, Sidecar, identify, sidecar_path

_SCRIPT = ROOT / "cpp/tests/run.sh"
_SKIPPED = 77
_BUILD_SECONDS = 1200


def _build(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", _SCRIPT, folder],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the programs, after the tests in C++ have passed."""
    folder = tmp_path_factory.mktemp("cpp")
    done = _build(folder)
    if done.returncode == _SKIPPED:
        pytest.skip(done.stdout.strip())
    if done.returncode != 0:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
    assert "100% tests passed" in done.stdout
    return folder


def write_plan(built: Path, path: Path, content: dict[str, Any]) -> Path:
    """Writes a plan of the stand-in, with a sidecar of s2deploy build."""
    path.write_text(json.dumps(content))
    header = (built / "sdk/tensorrt/include/NvInferVersion.h").read_text()
    numbers = re.findall(r"#define (?:NV_TENSORRT|TRT)_(?:MAJOR|MINOR|PATCH)(?:_ENTERPRISE)? +(\d+)", header)[:3]
    sidecar = Sidecar(
        onnx=identify(path),
        plan=identify(path),
        target="tensorrt",
        precision="fp32",
        capabilities=(),
        versions={"tensorrt": ".".join(numbers)},
        profiles=(),
        inputs=(),
        outputs=(),
        options={"version_compatible": False, "tf32": True, "workspace_bytes": 1 << 20},
        device=Device("Fake GPU", "8.6"),
    )
    sidecar_path(path).write_text(sidecar.to_json())
    return path


def call(built: Path, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(built / program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


MEANS = {
    "inputs": {"x": [-1, 3, -1, -1]},
    "profiles": [{"x": [[1, 3, 1, 1], [3, 3, 5, 7], [8, 3, 64, 64]]}],
    "kind": "means",
}


def test_says_what_is_missing(tmp_path: Path) -> None:
    done = _build(tmp_path, TensorRT_INCLUDE_DIR=str(tmp_path), CUDA_INCLUDE_DIR="")
    assert done.returncode == _SKIPPED
    assert re.match("skipped: (there is no |TensorRT_INCLUDE_DIR names no folder with NvInferRuntime.h)", done.stdout)


def test_a_project_outside_the_tree_uses_the_installed_package(built: Path, tmp_path: Path) -> None:
    plan = write_plan(built, tmp_path / "model.plan", {"inputs": {"x": [2, 4]}})
    done = call(built, "consumer", plan)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("Fake GPU: y 2x4 2\n")
    sidecar_path(plan).unlink()
    done = call(built, "consumer", plan)
    assert done.returncode == 1
    assert "has no sidecar model.plan.json" in done.stderr
    assert "hint: " in done.stderr


@pytest.mark.parametrize("fixed", [False, True])
def test_both_pipelines_agree(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fixed: bool) -> None:
    content = MEANS | ({"inputs": {"x": [3, 3, 5, 7]}, "profiles": []} if fixed else {})
    plan = write_plan(built, tmp_path / "model.plan", content)
    model = write_model(tmp_path / "model.onnx", batch=3 if fixed else "batch")
    images = write_images(tmp_path / "images", 10)
    arguments = [tmp_path / "images", "--batch", "3", "--top", "2", "--mean", MEAN, "--std", STD, "--scores"]
    done = call(built, "cpp_pipeline", plan, *arguments, tmp_path / "cpp.bin")
    assert done.returncode == 0, done.stderr
    assert script(PYTHON_PIPELINE).main([str(model), *map(str, arguments), str(tmp_path / "python.bin")]) == 0
    printed = capsys.readouterr().out
    pattern = r"(\S+)  (\d):\S+  (\d):\S+\n"
    assert re.findall(pattern, done.stdout) == re.findall(pattern, printed)
    assert len(re.findall(pattern, printed)) == len(images)
    cpp, python = (np.fromfile(tmp_path / name, np.float32).reshape(-1, 3) for name in ("cpp.bin", "python.bin"))
    np.testing.assert_allclose(cpp, python, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(cpp, expected_scores(images), rtol=1e-5, atol=1e-5)


def test_the_pipeline_takes_raw_samples(built: Path, tmp_path: Path) -> None:
    plan = write_plan(built, tmp_path / "model.plan", MEANS)
    values = np.random.default_rng(0).standard_normal((5, 3, 5, 7), np.float32)
    folder = tmp_path / "samples"
    folder.mkdir()
    for number, sample in enumerate(values):
        sample.tofile(folder / f"{number}.bin")
    done = call(built, "cpp_pipeline", plan, folder, "--scores", tmp_path / "scores.bin")
    assert done.returncode == 0, done.stderr
    scores = np.fromfile(tmp_path / "scores.bin", np.float32).reshape(5, 3)
    np.testing.assert_allclose(scores, values.mean(axis=(2, 3)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "a plan and a folder are needed"),
        (["IMAGES", "--batch", "9"], "the plan takes batches of 1 to 8"),
        (["IMAGES", "--batch", "x"], "'x' is no number"),
        (["IMAGES", "--batch", "0"], "--batch 0 is no count"),
        (["IMAGES", "--top"], "--top has no value"),
        (["IMAGES", "--size", "3"], "there is no option --size"),
        (["IMAGES", "--mean", "1,2"], "--mean or --std has 2 numbers, images have 3 channels"),
        (["NOTHING"], "holds no .ppm, .pgm or .bin"),
    ],
)
def test_the_pipeline_refuses_wrong_usage(built: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    plan = write_plan(built, tmp_path / "model.plan", MEANS)
    write_images(tmp_path / "images", 1)
    named = {"IMAGES": tmp_path / "images", "NOTHING": tmp_path}
    done = call(built, "cpp_pipeline", plan, *(named.get(argument, argument) for argument in arguments))
    assert done.returncode == 2
    assert said in done.stderr
    assert "hint: " in done.stderr


def test_the_comparison_on_a_gpu_says_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = script("cpp/tests/gpu.py")

    def no_gpu() -> None:
        raise TargetUnavailableError("no GPU here")

    monkeypatch.setattr(comparison, "Device", no_gpu)
    monkeypatch.setattr("sys.argv", ["gpu.py", "--tensorrt-root", "anywhere"])
    assert comparison.main() == _SKIPPED
    assert capsys.readouterr().out == "skipped: no GPU here\n"
