"""`run`: files and folders in, outputs out, and what cannot be meant."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import small_models
from click.testing import CliRunner

from s2deploy import pipeline
from s2deploy.cli import cli
from s2deploy.errors import ArtifactError, S2DeployError, UsageError

GENERATOR = np.random.default_rng(0)


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(exist_ok=True)
    np.save(path, array)
    return path


def rows(count: int) -> np.ndarray:
    return GENERATOR.standard_normal((count, 3)).astype(np.float32)


@pytest.fixture
def double(tmp_path: Path) -> Path:
    model = small_models.make("(float[batch,3] x) => (float[batch,3] y)", "y = Add(x, x)")
    return small_models.save(model, tmp_path / "model.onnx", inputs='["x:batch=1..4..6,3"]')


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return dict(archive)


def test_a_file_in_gives_a_file_out(double: Path, tmp_path: Path) -> None:
    x = rows(2)
    result = pipeline.run(double, tmp_path / "o.npz", inputs=[f"x={save(tmp_path / 'x.npy', x)}"])
    np.testing.assert_array_equal(load(tmp_path / "o.npz")["y"], x + x)
    assert (result.samples, result.calls, [stage.name for stage in result.stages]) == (1, 1, ["load", "run"])
    (output,) = result.outputs
    assert (output.shapes, output.dtype, output.not_finite) == (((2, 3),), "float32", 0)
    assert output.min == pytest.approx(float(2 * x.min()))


def test_an_npz_holds_all_inputs_and_a_folder_is_a_place_for_outputs(double: Path, tmp_path: Path) -> None:
    x = rows(3)
    np.savez(tmp_path / "feed.npz", x=x)
    pipeline.run(double, tmp_path / "made", inputs=[str(tmp_path / "feed.npz")])
    np.testing.assert_array_equal(load(tmp_path / "made" / "outputs.npz")["y"], x + x)


@pytest.mark.parametrize("extra_axis", [False, True])
@pytest.mark.parametrize(("batch", "calls"), [(None, 3), (1, 9), (6, 2)])
def test_files_of_a_folder_share_calls(
    double: Path, tmp_path: Path, extra_axis: bool, batch: int | None, calls: int
) -> None:
    x = rows(9)
    for index, row in enumerate(x):
        save(tmp_path / "in" / f"s{index}.npy", row[None] if extra_axis else row)
    result = pipeline.run(double, tmp_path / "o.npz", inputs=[f"x={tmp_path / 'in'}"], batch=batch)
    np.testing.assert_array_equal(load(tmp_path / "o.npz")["y"], x + x)
    assert (result.samples, result.calls) == (9, calls)
    pipeline.run(double, tmp_path / "out", inputs=[f"x={tmp_path / 'in'}"], batch=batch)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"s{index}.npz" for index in range(9)]
    np.testing.assert_array_equal(load(tmp_path / "out" / "s7.npz")["y"], (x[7:8] if extra_axis else x[7]) * 2)


def test_a_batch_of_fixed_size_is_filled_up(tmp_path: Path) -> None:
    model = small_models.save(
        small_models.make("(float[4,3] x) => (float[4,3] y)", "y = Neg(x)"), tmp_path / "model.onnx"
    )
    x = rows(6)
    for index, row in enumerate(x):
        save(tmp_path / "in" / f"{index}.npy", row)
    result = pipeline.run(model, tmp_path / "o.npz", inputs=[f"x={tmp_path / 'in'}"])
    np.testing.assert_array_equal(load(tmp_path / "o.npz")["y"], -x)
    assert result.calls == 2


def test_files_of_other_shapes_run_on_their_own(double: Path, tmp_path: Path) -> None:
    for name, count in (("a", 2), ("b", 5)):
        save(tmp_path / "in" / f"{name}.npy", np.ones((count, 3), np.float32))
    result = pipeline.run(double, tmp_path / "out", inputs=[f"x={tmp_path / 'in'}"])
    assert result.calls == 2
    assert load(tmp_path / "out" / "b.npz")["y"].shape == (5, 3)
    with pytest.raises(UsageError, match=r"shape \(2, 3\) for a but \(5, 3\) for b") as caught:
        pipeline.run(double, tmp_path / "o.npz", inputs=[f"x={tmp_path / 'in'}"])
    assert "-o FOLDER" in str(caught.value.hint)
    assert not (tmp_path / "o.npz").exists()


def test_a_model_that_mixes_its_axis_0_runs_file_by_file(tmp_path: Path) -> None:
    model = small_models.make("(float[N,3] x) => (float[1,3] y)", "y = ReduceSum<keepdims = 1>(x, axes)",
        {"axes": np.array([0])})  # fmt: skip
    path = small_models.save(model, tmp_path / "model.onnx")
    x = rows(3)
    for index in range(3):
        save(tmp_path / "in" / f"{index}.npy", x[index : index + 1])
    result = pipeline.run(path, tmp_path / "o.npz", inputs=[f"x={tmp_path / 'in'}"])
    assert result.calls == 3
    np.testing.assert_array_equal(load(tmp_path / "o.npz")["y"], x)
    with pytest.raises(UsageError, match="no axis for several samples"):
        pipeline.run(path, inputs=[f"x={tmp_path / 'in'}"], batch=2)


def test_without_inputs_values_are_random_and_nothing_is_written(double: Path, tmp_path: Path) -> None:
    first, second = (pipeline.run(double) for _ in range(2))
    assert first.outputs == second.outputs
    assert first.outputs[0].shapes == ((4, 3),)
    assert pipeline.run(double, inputs=["x:2,3"]).outputs[0].shapes == ((2, 3),)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_random_values_need_sizes(tmp_path: Path) -> None:
    path = small_models.save(small_models.perceptron("N"), tmp_path / "model.onnx")
    with pytest.raises(UsageError, match="does not say which sizes") as caught:
        pipeline.run(path)
    assert "--input x:1,16" in str(caught.value.hint)


def test_bfloat16_is_given_and_taken_as_float32(tmp_path: Path) -> None:
    model = small_models.make("(bfloat16[2] x) => (bfloat16[2] file)", "file = Identity(x)")
    path = small_models.save(model, tmp_path / "model.onnx")
    x = save(tmp_path / "x.npy", np.array([1.5, 3.14159], np.float32))
    pipeline.run(path, tmp_path / "o.npz", inputs=[f"x={x}"])
    assert load(tmp_path / "o.npz")["file"].tolist() == np.load(x).astype(ml_dtypes.bfloat16).tolist()


def test_values_that_are_not_finite_are_counted(double: Path, tmp_path: Path) -> None:
    x = save(tmp_path / "x.npy", np.array([[1, np.nan, np.inf]], np.float32))
    (output,) = pipeline.run(double, inputs=[f"x={x}"]).outputs
    assert (output.min, output.max, output.not_finite) == (2, 2, 2)


def test_sequences_cannot_be_written(tmp_path: Path) -> None:
    import onnx

    model = small_models.make("(float[4] x) => (float[4] y)", "y = Relu(x) s = SplitToSequence(x)")
    model.graph.output.append(onnx.helper.make_tensor_sequence_value_info("s", onnx.TensorProto.FLOAT, None))
    with pytest.raises(S2DeployError, match="output 's' is a list"):
        pipeline.run(small_models.save(model, tmp_path / "model.onnx"))


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (["x=missing.npy"], UsageError, "there is no file or folder missing.npy"),
        (["x="], UsageError, "there is no file"),
        (["x.npy"], UsageError, "names no input"),
        (["z=x.npy"], UsageError, "there is no input 'z'"),
        (["z:2,3"], UsageError, "there is no input 'z'"),
        (["x=x.npy", "x:2,3"], UsageError, "'x' is given twice"),
        (["x=x.npy", "x=x.npy"], UsageError, "'x' is given twice"),
        (["x=feed.npz"], UsageError, "an .npz holds its own names"),
        (["missing.npz"], UsageError, "--input missing.npz: no such file"),
        (["broken.npz"], ArtifactError, "--input broken.npz is not an .npz"),
        (["x=broken.npy"], ArtifactError, "broken.npy is not an .npy file"),
        (["x=short.npy"], ArtifactError, "short.npy is not an .npy file"),
        (["x=objects.npy"], ArtifactError, "objects.npy is not an .npy file"),
        (["x=empty"], UsageError, "the folder empty holds no .npy file"),
        (["x=wide.npy"], UsageError, "input 'x' is float32 but the array is float64"),
        (["x=long.npy"], UsageError, "axis 1 has size 4, the model takes 3"),
        (["x=many"], UsageError, "long.npy: input 'x'.*axis 1 has size 4"),
        (["x=seven.npy"], UsageError, "axis 0 has size 7, the model was exported and proved for batch=1..4..6"),
    ],
)
def test_inputs_that_cannot_be_meant(
    double: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: list[str], error: type, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, array in (("x", rows(2)), ("wide", rows(2).astype(np.float64)), ("seven", rows(7))):
        np.save(f"{name}.npy", array)
    np.save("long.npy", np.ones((2, 4), np.float32))
    np.save("objects.npy", np.array([None]), allow_pickle=True)
    Path("short.npy").write_bytes(Path("x.npy").read_bytes()[:-3])
    for name in ("broken.npy", "broken.npz"):
        Path(name).write_bytes(b"no arrays")
    np.savez("feed.npz", x=rows(1))
    Path("empty").mkdir()
    save(Path("many/long.npy"), np.ones((2, 4), np.float32))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=message) as caught:
        pipeline.run(double, "o.npz", inputs=inputs)
    assert caught.value.hint
    assert sorted(tmp_path.iterdir()) == before


def test_folders_of_several_inputs_hold_files_of_the_same_names(tmp_path: Path) -> None:
    model = small_models.make("(float[N,3] a, float[N,3] b) => (float[N,3] y)", "y = Sub(a, b)")
    path = small_models.save(model, tmp_path / "model.onnx")
    a, b = rows(3), rows(3)
    for index in range(3):
        save(tmp_path / "a" / f"{index}.npy", a[index])
        save(tmp_path / "b" / f"{index}.npy", b[index])
    given = [f"a={tmp_path / 'a'}", f"b={tmp_path / 'b'}"]
    pipeline.run(path, tmp_path / "o.npz", inputs=given, batch=2)
    np.testing.assert_array_equal(load(tmp_path / "o.npz")["y"], a - b)
    with pytest.raises(UsageError, match="no --input for b"):
        pipeline.run(path, inputs=given[:1])
    save(tmp_path / "b" / "4.npy", b[0])
    with pytest.raises(UsageError, match=r"hold different files, e\.g\. 4\.npy"):
        pipeline.run(path, inputs=given)


@pytest.mark.parametrize(
    ("output", "message"),
    [("missing/o.npz", "does not exist"), ("file.txt", "neither an .npz nor a folder"), ("model.onnx", "neither")],
)
def test_outputs_that_cannot_be_written(double: Path, tmp_path: Path, output: str, message: str) -> None:
    (tmp_path / "file.txt").touch()
    with pytest.raises(UsageError, match=message):
        pipeline.run(double, tmp_path / output)


@pytest.mark.parametrize("batch", [0, 7])
def test_batches_the_model_does_not_take(double: Path, batch: int) -> None:
    with pytest.raises(UsageError, match=f"no batch of {batch}") as caught:
        pipeline.run(double, batch=batch)
    assert caught.value.hint == "give --batch 1 to 6, or leave it out"


def test_running_and_inspecting_import_no_torch(double: Path) -> None:
    code = (
        "import sys; from s2deploy import pipeline; "
        f"pipeline.run({str(double)!r}); pipeline.inspect({str(double)!r}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_command_shows_a_table_and_the_same_as_json(double: Path, tmp_path: Path) -> None:
    output = tmp_path / "o.npz"
    shown = CliRunner().invoke(cli, ["run", str(double), "-o", str(output)])
    assert shown.exit_code == 0
    assert "random values: x 4x3" in shown.stdout
    assert f"wrote {output}" in shown.stdout
    assert shown.stdout.splitlines()[3].split()[:3] == ["output", "dtype", "shape"]
    document = json.loads(CliRunner().invoke(cli, ["run", str(double), "--json"]).stdout)
    assert document["outputs"][0]["shapes"] == [[4, 3]]
    wrong = CliRunner().invoke(cli, ["run", str(double), "--provider", "tpu"])
    assert wrong.exit_code == 2
    assert "it has: " in wrong.stderr
