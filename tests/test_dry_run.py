"""A dry run: what a build would do, without a GPU, without TensorRT, and without a trace."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import onnx
import pytest
import small_models
from click.testing import CliRunner
from engine_builds import calibration_in, carry_out, files_of, named, needs_rtx, options, request
from small_models import make, save, weights

import s2deploy
from s2deploy.cli import cli
from s2deploy.engine import dry_run, outlook, targets
from s2deploy.engine.request import Request
from s2deploy.errors import ArtifactError, BuildError, CapabilityError, UsageError
from s2deploy.options import BuildOptions
from s2deploy.precision.wide import Wide
from s2deploy.sidecar import ProfileShapes
from s2deploy.specs import Precision, Target

SUMS = "sums and powers, which leave the range or precision of 16 bits"


@pytest.fixture
def dynamic(tmp_path: Path) -> Path:
    ranges = json.dumps(["x:batch=1..8..32,16"])
    return save(small_models.perceptron("batch"), tmp_path / "model.onnx", inputs=ranges)


@pytest.fixture
def refused(tmp_path: Path) -> Path:
    """A model with three nodes the parser does not take, and one more of what one of them makes."""
    model = make(
        "(float[2,2] x, int32[2,2] i) => (float[2] m, int32[2,2] j, int64[2,2] l)",
        "[a] a = Mul(x, x) [det] y = Det(a) [nz] k = NonZero(x) [twice] j = MatMul(i, i) t = Transpose(k) "
        "[late] l = MatMul(k, t) [fine] m = Sigmoid(y)",
    )
    model.graph.node[1].metadata_props.add(key="s2deploy.source", value="net.py:7")
    return save(model, tmp_path / "model.onnx")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "_version", lambda target: None)


def graph_of(body: str, given, signature: str = "(float[8,16] x) => (float[8,8] y)") -> onnx.ModelProto:
    return named(make(signature, body, given))


@needs_rtx
def test_what_would_be_built_is_told(dynamic: Path) -> None:
    found = dry_run(dynamic, options(Precision.FP16, target=Target.RTX))
    assert found.builds
    assert (found.target, found.precision, found.unavailable, found.families) == ("rtx", "fp16", None, ())
    assert found.family.startswith("TensorRT-RTX 1.")
    assert found.flags == ("STRONGLY_TYPED", "TF32")
    assert found.capabilities == ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
    assert found.profiles == ({"x": ProfileShapes((1, 16), (8, 16), (32, 16))},)
    assert (found.opset, found.opset_built) == (20, 20)
    assert found.operators_changed == {"Cast": (0, 2)}
    assert (found.nodes, found.nodes_built) == (4, 6)
    assert found.products == found.parser.products == {"float16": 2}
    assert found.weight_bytes == {"float16": 2 * (16 * 32 + 32 + 32 * 8)}
    # the sum and Gelu's result, 8 rows of 32 halves each
    assert [peak.peak_bytes for peak in found.activations] == [2 * 8 * 32 * 2]
    assert [(tensor.shape, tensor.dtype) for tensor in (*found.inputs, *found.outputs)] == [
        ((-1, 16), "float32"), ((-1, 8), "float32"),
    ]  # fmt: skip
    assert found.cost.outputs[0].cosine > 0.999


@needs_rtx
@pytest.mark.parametrize("precision", list(Precision))
def test_nothing_is_written(
    dynamic: Path, tmp_path: Path, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = calibration_in(tmp_path) if precision is Precision.INT8 else None
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert dry_run(dynamic, options(precision, calibration=data)).builds
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    assert list(scratch.iterdir()) == []


@needs_rtx
def test_every_node_the_parser_does_not_take_is_named_with_its_line(refused: Path) -> None:
    found = dry_run(refused, options(target=Target.RTX))
    assert not found.builds
    for failure, head in zip(
        found.parser.failures, ("Det 'det' (net.py:7)", "NonZero 'nz'", "MatMul 'twice'"), strict=True
    ):
        assert failure.startswith(f"TensorRT does not support {head}: ")


@needs_rtx
def test_the_command_fails_where_the_build_would(refused: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["build", str(refused), "--target", "rtx", "--dry-run"])
    assert result.exit_code == 1
    assert "✗ TensorRT does not support Det 'det' (net.py:7): checkDet: UNSUPPORTED_NODE" in result.stdout
    assert "this build would fail; nothing was written" in result.stdout
    arguments = ["build", str(refused), "--target", "rtx", "--dry-run", "--json", "-o", str(tmp_path / "model.plan")]
    document = json.loads(CliRunner().invoke(cli, arguments).stdout)
    assert len(document["parser"]["failures"]) == 3
    assert files_of(tmp_path) == {"model.onnx"}


@needs_rtx
def test_an_input_that_holds_sizes_is_told(tmp_path: Path) -> None:
    path = save(make("(float[4] x, int64[2] s) => (float[A,B] y)", "y = Reshape(x, s)"), tmp_path / "model.onnx")
    found = dry_run(path, options(target=Target.RTX))
    assert not found.builds
    assert "input 's' holds sizes" in found.parser.failures[0]


@pytest.mark.usefixtures("bare")
def test_without_any_tensorrt_the_families_are_compared(dynamic: Path) -> None:
    imported = {name for name in sys.modules if name.startswith("tensorrt")}
    found = dry_run(dynamic, options(Precision.BF16, target=None))
    assert found.builds
    assert found.parser is None
    assert "no TensorRT is installed" in found.unavailable
    assert {name for name in sys.modules if name.startswith("tensorrt")} == imported
    told = {family.name: (family.opset, family.types_from, family.flags, family.refusal) for family in found.families}
    flags = ("BF16", "OBEY_PRECISION_CONSTRAINTS", "TF32")
    assert told == {
        "TensorRT-RTX 1.7": (20, "graph", ("STRONGLY_TYPED", "TF32"), None),
        "TensorRT 11.1": (20, "graph", ("TF32",), None),
        "TensorRT 10.16": (20, "graph", ("STRONGLY_TYPED", "TF32"), None),
        "TensorRT 9.3": (17, "flags", flags, None),
        "TensorRT 8.6": (17, "flags", flags, "TensorRT 8.6 takes no --bf16: that type came with TensorRT 9"),
        "TensorRT 8.5": (17, "flags", flags, "TensorRT 8.5 takes no --bf16: that type came with TensorRT 9"),
    }


@pytest.mark.usefixtures("bare")
def test_a_target_that_is_not_here_is_described_by_the_newest_family_that_takes_the_options(dynamic: Path) -> None:
    found = dry_run(dynamic, BuildOptions(target=None, timing_cache=Path("timings")))
    assert found.family == "TensorRT 11.1"
    assert found.families[0].refusal == "TensorRT-RTX 1.7 takes no --timing-cache: it measures nothing while it builds"
    found = dry_run(dynamic, BuildOptions(target=Target.TENSORRT))
    assert [family.name.partition(" ")[0] for family in found.families] == ["TensorRT"] * 5
    with pytest.raises(UsageError, match=r"RTX 1\.7 takes no --timing-cache"):
        dry_run(dynamic, BuildOptions(target=Target.RTX, timing_cache=Path("timings")))


def test_an_installed_tensorrt_without_a_gpu_is_described_in_its_version(
    dynamic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "_version", lambda target: "8.6.1")
    monkeypatch.setattr(targets, "count_devices", lambda: 0)
    found = dry_run(dynamic, options(Precision.FP16, target=Target.TENSORRT))
    assert (found.family, found.parser, found.families) == ("TensorRT 8.6.1", None, ())
    assert "no NVIDIA GPU" in found.unavailable
    assert (found.opset, found.opset_built) == (20, 17)
    assert found.operators_changed["Gelu"] == (1, 0)
    assert found.products == {"float16": 2}
    assert found.flags == ("FP16", "OBEY_PRECISION_CONSTRAINTS", "TF32")


@pytest.mark.usefixtures("bare")
def test_an_operator_that_an_old_family_lacks_is_told_for_that_family(tmp_path: Path) -> None:
    path = save(make("(float[4] x) => (float[4] y)", "[m] y = Mish(x)"), tmp_path / "model.onnx")
    refusals = {family.name: family.refusal for family in dry_run(path).families}
    assert "Mish 'm' cannot be lowered to opset 17" in refusals["TensorRT 8.5"]
    assert refusals["TensorRT 10.16"] is None


@pytest.mark.usefixtures("bare")
def test_what_stays_float32_has_a_reason(tmp_path: Path) -> None:
    body = "a = MatMul(x, w) m = ReduceMean<keepdims=1>(a) b = Sub(a, m) c = Erf(b) y = MatMul(c, v)"
    model = graph_of(body, {"w": weights(16, 32), "v": weights(32, 8)})
    path = save(model, tmp_path / "model.onnx")
    half = dry_run(path, options(Precision.FP16, keep_fp32=("y", "Sub")))
    assert half.products == {"float16": 1, "float32": 1}
    assert half.stays_float32 == (
        Wide(SUMS, {"ReduceMean": 1}),
        Wide("asked for with --keep-fp32", {"Sub": 1, "MatMul": 1}),
    )
    brain = dry_run(path, options(Precision.BF16))
    assert brain.stays_float32 == (Wide(SUMS, {"ReduceMean": 1}),)
    eight = dry_run(path, options(Precision.INT8, calibration=calibration_in(tmp_path)))
    assert eight.products == {"int8": 2}
    assert eight.stays_float32 == (
        Wide("int8 is for matrix products and convolutions", {"ReduceMean": 1, "Sub": 1, "Erf": 1}),
    )
    assert dry_run(path).stays_float32 == ()


@pytest.mark.usefixtures("bare")
def test_weak_typing_is_described_by_what_it_demands(dynamic: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(targets, "_version", lambda target: "9.3.0")
    body = "a = MatMul(x, w) m = ReduceMean<keepdims=1>(a) b = Sub(a, m) y = MatMul(b, v)"
    path = save(graph_of(body, {"w": weights(16, 32), "v": weights(32, 8)}), tmp_path / "sum.onnx")
    found = dry_run(path, options(Precision.FP16, target=Target.TENSORRT, keep_fp32=("y",)))
    assert found.products == {"float16": 1, "float32": 1}
    (held,) = found.stays_float32
    assert held.operators == {"ReduceMean": 1}
    assert found.weight_bytes == {"float32": 4 * (16 * 32 + 32 * 8)}


def test_a_precision_that_breaks_the_model_fails_the_dry_run_too(tmp_path: Path, bare: None) -> None:
    given = {"w": weights(16, 16) * 1000, "v": weights(16, 8) * 1000}
    path = save(graph_of("a = MatMul(x, w) y = MatMul(a, v)", given), tmp_path / "model.onnx")
    with pytest.raises(BuildError, match="fp16 breaks the model"):
        dry_run(path, options(Precision.FP16))


@needs_rtx
@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"capabilities": ("9.9",)}, CapabilityError, "unknown compute capability '9.9'"),
        ({"capabilities": ("7.5",)}, CapabilityError, "7.5 has no fp32 matrix product"),
        ({"workspace_bytes": 0}, UsageError, "a workspace of 0 bytes"),
        ({"precision": Precision.INT8}, UsageError, "int8 needs calibration data"),
    ],
)
def test_a_call_that_a_build_would_refuse_is_refused(dynamic: Path, asked, error, message: str) -> None:
    with pytest.raises(error, match=message):
        dry_run(dynamic, options(**asked))


@needs_rtx
def test_the_functions_and_the_command_say_the_same(dynamic: Path) -> None:
    found = s2deploy.dry_run(dynamic, fp16=True, target="rtx", capabilities=["8.6"])
    assert isinstance(found, s2deploy.DryRun)
    assert found.capabilities == ("8.6",)
    arguments = ["build", str(dynamic), "--fp16", "--target", "rtx", "--compute-capability", "8.6", "--dry-run"]
    document = json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).stdout)
    assert document["products"] == found.products
    assert document["activations"][0]["peak_bytes"] == found.activations[0].peak_bytes
    text = CliRunner().invoke(cli, arguments).stdout
    for words in ("2 in float16", "about 1.0 kB at the opt sizes", "takes every node", "min 1x16, opt 8x16, max 32x16"):
        assert words in text
    with pytest.raises(TypeError, match="fp61"):
        s2deploy.dry_run(dynamic, fp61=True)  # type: ignore[call-arg]


def test_a_build_needs_a_plan_to_write(dynamic: Path) -> None:
    result = CliRunner().invoke(cli, ["build", str(dynamic)])
    assert result.exit_code == 2
    assert "-o model.plan, or add --dry-run" in result.stderr


@pytest.mark.parametrize("version", ["8.5", "9.3", "10.16", "11.1"])
def test_every_family_parses_without_building(tmp_path: Path, version: str) -> None:
    asked = request(tmp_path, version)
    calls, answer = carry_out(version, Request.from_json(asked.to_json().replace(json.dumps(asked.plan), "null")))
    assert [product.dtype for product in answer.products] == ["float32", "float32"]
    assert not any(call[0].startswith("IBuilderConfig") for call in calls)
    assert files_of(tmp_path) == {"model.onnx"}


def test_a_full_folder_for_temporary_files_is_named(dynamic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(targets, "_version", lambda target: "10.16.0")
    monkeypatch.setattr(targets, "count_devices", lambda: 1)
    monkeypatch.setattr(outlook, "run_build", full)
    with pytest.raises(ArtifactError, match=r"cannot write temporary files to .*: No space left on device"):
        dry_run(dynamic, options(target=Target.TENSORRT))


@pytest.mark.parametrize("dry", [False, True])
def test_what_is_wrong_with_a_call_is_told_before_what_the_machine_lacks(
    bare: None, dynamic: Path, tmp_path: Path, dry: bool
) -> None:
    def told(*arguments: object) -> str:
        asked = ["build", *map(str, arguments), "-o", str(tmp_path / "model.plan"), *(["--dry-run"] if dry else [])]
        result = CliRunner().invoke(cli, asked)
        assert result.exit_code == 2, result.output
        return result.stderr

    assert "missing.onnx: no such file" in told(tmp_path / "missing.onnx")
    assert "plugin library none.so: no such file" in told(dynamic, "--plugin", "none.so")
    assert "the optimization level 9 is not one of" in told(dynamic, "--optimization-level", 9)
