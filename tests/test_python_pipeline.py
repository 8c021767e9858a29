"""examples/python_pipeline on onnxruntime: what it prints and writes, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pipelines import MEAN, PYTHON_PIPELINE, ROOT, STD, expected_scores, script, write_images, write_model

PIPELINE = script(PYTHON_PIPELINE)


def test_prints_the_best_classes_of_every_image_and_writes_all_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "model.onnx")
    images = write_images(tmp_path / "images", 7)
    (tmp_path / "images" / "notes.txt").write_text("not an image")
    scores = tmp_path / "scores.bin"
    arguments = [str(model), str(tmp_path / "images"), "--batch", "3", "--top", "2", "--mean", MEAN, "--std", STD]
    assert PIPELINE.main([*arguments, "--scores", str(scores)]) == 0
    expected = expected_scores(images)
    written = np.fromfile(scores, np.float32).reshape(7, 3)
    np.testing.assert_allclose(written, expected, rtol=1e-5, atol=1e-5)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [f"{number:02}.ppm" for number in range(7)]
    for line, values in zip(lines, expected, strict=True):
        found = [part.split(":") for part in line.split()[1:]]
        assert [int(index) for index, _ in found] == list(np.argsort(-values)[:2])
        assert [float(score) for _, score in found] == pytest.approx(sorted(values, reverse=True)[:2], rel=1e-4)


def test_fills_the_last_batch_of_a_model_of_fixed_size(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.onnx", batch=4)
    images = write_images(tmp_path / "images", 5)
    scores = tmp_path / "scores.bin"
    arguments = [str(model), str(tmp_path / "images"), "--mean", MEAN, "--std", STD, "--scores", str(scores)]
    assert PIPELINE.main(arguments) == 0
    written = np.fromfile(scores, np.float32).reshape(5, 3)
    np.testing.assert_allclose(written, expected_scores(images), rtol=1e-5, atol=1e-5)


def test_reads_gray_images_and_raw_samples(tmp_path: Path) -> None:
    pixels = np.arange(35, dtype=np.uint8)
    (tmp_path / "gray.pgm").write_bytes(b"P5 7 5 255\n" + pixels.tobytes())
    half, two = np.float32([0.5]), np.float32([2])
    read = PIPELINE.read_sample(tmp_path / "gray.pgm", (1, 5, 7), half, two)
    np.testing.assert_allclose(read, (pixels.reshape(1, 5, 7) / 255 - 0.5) / 2, rtol=1e-6)
    values = np.random.default_rng(0).standard_normal((2, 3), np.float32)
    values.tofile(tmp_path / "sample.bin")
    np.testing.assert_array_equal(PIPELINE.read_sample(tmp_path / "sample.bin", (2, 3), half, two), values)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"P6 7 5 65535\n" + bytes(210), "is no binary PPM or PGM of 8 bits"),
        (b"P3 7 5 255\n0 0 0", "is no binary PPM or PGM of 8 bits"),
        (b"P6 7 5 255\n" + bytes(104), "is cut off"),
        (b"P6 5 7 255\n" + bytes(105), "is (3, 7, 5), the first of the folder is (3, 5, 7)"),
    ],
)
def test_refuses_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, said: str) -> None:
    model = write_model(tmp_path / "model.onnx")
    write_images(tmp_path / "images", 1)
    (tmp_path / "images" / "odd.ppm").write_bytes(content)
    assert PIPELINE.main([str(model), str(tmp_path / "images")]) == 2
    assert said in capsys.readouterr().err


def test_refuses_what_does_not_fit_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path / "model.onnx", batch=2)
    write_images(tmp_path / "images", 1)
    (tmp_path / "none").mkdir()
    assert PIPELINE.main([str(model), str(tmp_path / "none")]) == 2
    assert "holds no .ppm, .pgm or .bin" in capsys.readouterr().err
    assert PIPELINE.main([str(model), str(tmp_path / "images"), "--batch", "3"]) == 2
    assert "takes batches of 2 to 2" in capsys.readouterr().err
    assert PIPELINE.main([str(model), str(tmp_path / "images"), "--mean", "0.5,0.5"]) == 2
    assert "has 2 numbers, images have 3 channels" in capsys.readouterr().err


def test_is_a_command(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.onnx")
    write_images(tmp_path / "images", 1)
    command = [sys.executable, ROOT / PYTHON_PIPELINE, model, tmp_path / "images", "--top", "1"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("00.ppm  ")
    assert "onnxruntime" in ran.stderr
