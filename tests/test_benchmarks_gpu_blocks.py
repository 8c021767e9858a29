"""The comparison of whole blocks on a GPU, as far as it runs without one: files, rows, table, and how parts fail."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

import s2deploy
from s2deploy.errors import BuildError
from s2deploy.sidecar import Kernels

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks" / "gpu"))

import block_tensorrt
import block_torch
import gpu_blocks
from block_cases import EXAMPLE, WAYS, blocks, file_of
from cases import Case, read


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is prepared for a small block at two batches."""
    place = tmp_path_factory.mktemp("blocks")
    arguments = ["prepare", str(place), "--size", "8,5", "--batch", "1", "--batch", "3", "--example", "s2mlpv2_tiny"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["gpu_blocks.py", *arguments])
        # the example takes long, and the C++ pipeline that needs it is not run here
        export = s2deploy.export

        def all_but_the_example(source: Any, *places: Any, **options: Any) -> Any:
            return None if "tiny" in str(source) else export(source, *places, **options)

        patch.setattr(s2deploy, "export", all_but_the_example)
        assert gpu_blocks.main() == 0
    return place


def test_every_way_is_what_it_is_called_and_right(folder: Path) -> None:
    (case,) = read(folder)
    assert case == blocks([(8, 5)], (1, 3))[0]
    operators = {way: {node.op_type for node in onnx.load(folder / file_of(case, way)).graph.node} for way in WAYS}
    assert "ScatterND" in operators["scatter"]
    assert operators["slices"] & {"Slice", "Concat", "Pad"}
    assert "ScatterND" not in operators["slices"]
    assert {"ShiftSum", "ShiftSumPool"} <= operators["plugin"]
    assert not {"Slice", "Concat", "Pad"} & operators["plugin"]
    assert {shape[0] for shape in case.shapes} == {1, 3}


@pytest.fixture
def engines(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Has plans be built by nobody, and run by onnxruntime, which is said to take a millisecond and a half."""
    asked: list[dict[str, Any]] = []

    def patch(refused: str = "", factor: float = 1.0) -> list[dict[str, Any]]:
        def build(model: Path, plan: Path, **options: Any) -> Any:
            asked.append({"model": model.name} | options)
            if refused and refused in model.name:
                raise BuildError("no kernel fits", hint="none")
            plan.write_text(str(model))
            return SimpleNamespace(sidecar=SimpleNamespace(kernels=Kernels(True, {"ShiftSum": 2}, "asked for")))

        def load(plan: Path, *, cuda_graphs: bool = False) -> Any:
            session = real(Path(plan.read_text()))
            run = session.run
            session.run = lambda feed: {name: value * factor for name, value in run(feed).items()}
            session.timed = lambda feed: (session.run(feed), 1.5)
            return session

        real = s2deploy.load
        monkeypatch.setattr(s2deploy, "build", build)
        monkeypatch.setattr(s2deploy, "load", load)
        monkeypatch.setattr(block_tensorrt, "_SECONDS", 0.02)
        return asked

    return patch


def rows_of(case: Case, folder: Path, place: Path, precision: str = "fp16") -> list[dict[str, Any]]:
    return list(block_tensorrt.compared(case, precision, folder, place, Path("/lib/libs2deploy_plugins.so")))


def test_engines_are_timed_and_compared_at_every_batch(folder: Path, tmp_path: Path, engines) -> None:
    asked = engines()
    (case,) = read(folder)
    rows = rows_of(case, folder, tmp_path)
    assert [(row["batch"], row["way"]) for row in rows] == [(batch, way) for batch in (1, 3) for way in WAYS]
    assert all(row["passed"] and row["median_ms"] == 1.5 for row in rows)
    assert [one["plugins"] for one in asked] == [[], [], ["always", Path("/lib/libs2deploy_plugins.so")]]
    assert {tuple(one["profiles"]) for one in asked} == {("x:1,8,5,5", "x:3,8,5,5")}
    assert {(one["target"], one["fp16"]) for one in asked} == {("tensorrt", True)}
    json.dumps(rows)


def test_what_is_wrong_is_told(folder: Path, tmp_path: Path, engines) -> None:
    engines(factor=1.2)
    (case,) = read(folder)
    rows = rows_of(case, folder, tmp_path)
    assert not any(row["passed"] for row in rows)
    lines = gpu_blocks.problems({"tensorrt": {"rows": rows[:1]}})
    assert lines == ["block_8_5 fp16 batch 1 scatter: beyond the tolerance"]


def test_a_way_that_cannot_be_built_is_a_row_and_the_others_are_timed(folder: Path, tmp_path: Path, engines) -> None:
    engines(refused="plugin")
    (case,) = read(folder)
    failed, *others = rows_of(case, folder, tmp_path)
    assert (failed["way"], failed["error"], failed["passed"]) == ("plugin", "no kernel fits", False)
    assert {row["way"] for row in others} == {"scatter", "slices"}
    assert gpu_blocks.problems({"tensorrt": {"rows": [failed]}}) == ["block_8_5 fp16 batch None plugin: no kernel fits"]


def test_the_example_is_built_with_kernels(folder: Path, tmp_path: Path, engines) -> None:
    asked = engines()
    told = block_tensorrt.example(folder, tmp_path / "example.plan", Path("/lib/libs2deploy_plugins.so"))
    assert told == {"passed": True, "operators": {"ShiftSum": 2}}
    assert asked[0]["model"] == EXAMPLE
    engines(refused="example")
    told = block_tensorrt.example(folder, tmp_path / "example.plan", Path("/lib/libs2deploy_plugins.so"))
    assert gpu_blocks.problems({"tensorrt": {"example": told}}) == ["the example: no kernel fits"]


def test_pytorch_is_timed_as_it_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch, "compile", lambda module, dynamic: module)
    (case,) = read(folder)
    rows = list(block_torch.measured(case, folder, "cpu"))
    assert len(rows) == 8  # two ways, precisions and batches
    assert all(row["median_ms"] > 0 for row in rows)
    # overlapping assignments on a processor are not what they mean
    assert all(row["off"] > 1e-2 for row in rows)


def test_one_precision_alone(
    folder: Path, engines, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = engines()
    arguments = [str(folder), "--library", "lib.so", "--precision", "fp32"]
    monkeypatch.setattr(sys, "argv", ["block_tensorrt.py", *arguments])
    block_tensorrt.main()
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert {row["precision"] for row in rows} == {"fp32"}
    assert len(rows) == 6
    assert all(one["tf32"] is False for one in asked)


def test_the_table_sets_the_plugins_against_the_best_of_the_others() -> None:
    row = {"block": "b", "precision": "fp16", "batch": 4}
    times = {"scatter": 3.0, "slices": 2.0, "plugin": 1.0}
    document = {
        "tensorrt": {"rows": [row | {"way": way, "median_ms": ms, "passed": True} for way, ms in times.items()]},
        "torch": {"rows": [row | {"way": "eager", "median_ms": 4.0}, row | {"way": "compile", "median_ms": 1.5}]},
    }
    head, _, only = gpu_blocks.table(document).splitlines()
    assert "naive ScatterND | Slice and Concat | plugin | torch eager | torch.compile" in head
    assert only == "| b | fp16 | 4 | 3.000 | 2.000 | 1.000 | 4.000 | 1.500 | 1.50 × as fast |"
    assert gpu_blocks.problems(document) == []
    lone = {"tensorrt": {"rows": [row | {"way": "plugin", "median_ms": 1.0, "passed": True}]}}
    assert gpu_blocks.table(lone).splitlines()[-1] == "| b | fp16 | 4 |  |  | 1.000 |  |  |  |"


def script(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def test_parts_that_fail_are_told_and_the_rest_is_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "prepared"
    (place / "plans").mkdir(parents=True)
    (place / "cases.json").write_text((folder / "cases.json").read_text(), encoding="utf-8")
    for precision in ("fp32", "fp16"):
        (place / "plans" / f"block.plugin.{precision}.plan").touch()
    works = script(tmp_path / "works", "echo '{\"rows\": []}'")
    breaks = script(tmp_path / "breaks", "exit 3")
    output = tmp_path / "out.json"

    def called(python: str, *others: object) -> int:
        arguments = [place, "--tensorrt-python", python, "--library", "lib.so", "--output", output, *others]
        monkeypatch.setattr(sys, "argv", ["gpu_blocks.py", "run", *map(str, arguments)])
        return gpu_blocks.main()

    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert called(works, "--torch-python", breaks, "--tensorrt-root", tmp_path) == 1
    told = json.loads(output.read_text(encoding="utf-8"))
    assert "ended with code 3" in told["torch"]["failed"]
    assert told["tensorrt"] == {"rows": []}
    assert told["sanitizer"] == {"failed": "compute-sanitizer is not on PATH"}
    assert "rows" in told["cpp"]["said"]
    assert "FAILED sanitizer" in capsys.readouterr().out
    script(tmp_path / "compute-sanitizer", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert called(works) == 0
    assert json.loads(output.read_text(encoding="utf-8"))["sanitizer"] == {"fp32": "clean", "fp16": "clean"}
    assert called(works, "--precision", "fp16") == 0
    assert json.loads(output.read_text(encoding="utf-8"))["sanitizer"] == {"fp16": "clean"}
    script(tmp_path / "compute-sanitizer", "echo invalid read; exit 9")
    assert called(works, "--tensorrt-root", tmp_path) == 1
    assert "invalid read" in json.loads(output.read_text(encoding="utf-8"))["sanitizer"]["failed"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["none", "--library", "x"], "was not prepared"), (["HERE"], "give --library, or --tensorrt-include")],
)
def test_wrong_calls_are_refused(
    folder: Path, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(folder) if argument == "HERE" else argument for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["gpu_blocks.py", "run", *given, "--tensorrt-python", "python3"])
    with pytest.raises(SystemExit) as caught:
        gpu_blocks.main()
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_a_wrong_file_is_not_timed(folder: Path, tmp_path: Path) -> None:
    import block_prepare

    (case,) = read(folder)
    with np.load(folder / case.feed(0)) as archive:
        np.savez(tmp_path / case.feed(0), **{"in.x": archive["in.x"], "out.y": archive["out.y"] * 1.01})
    (tmp_path / file_of(case, "slices")).write_bytes((folder / file_of(case, "slices")).read_bytes())
    with pytest.raises(SystemExit, match="there is nothing to time"):
        block_prepare._check(case, "slices", tmp_path)
