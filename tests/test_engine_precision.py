"""Precision from the option to the plan on TensorRT-RTX: profiles, TF32, what is read back, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import small_models
from click.testing import CliRunner
from engine_builds import files_of, needs_rtx, options
from small_models import make, save, weights

from s2deploy.cli import cli
from s2deploy.engine import build, read_sidecar
from s2deploy.engine.typed import Typed
from s2deploy.errors import BuildError, UsageError
from s2deploy.sidecar import ProfileShapes, Proof
from s2deploy.specs import Precision, parse_inputs

pytestmark = needs_rtx


@pytest.fixture
def perceptron(tmp_path: Path) -> Path:
    return save(small_models.perceptron(), tmp_path / "model.onnx")


@pytest.fixture
def dynamic(tmp_path: Path) -> Path:
    return save(small_models.perceptron("batch"), tmp_path / "model.onnx")


def test_several_profiles_keep_their_order(dynamic: Path, tmp_path: Path) -> None:
    profiles = (parse_inputs(["x:n=1..1..4,16"]), parse_inputs(["x:n=8..16..32,16"]))
    sidecar = build(dynamic, tmp_path / "model.plan", options(profiles=profiles, capabilities=("8.6",))).sidecar
    assert sidecar.profiles == (
        {"x": ProfileShapes((1, 16), (1, 16), (4, 16))},
        {"x": ProfileShapes((8, 16), (16, 16), (32, 16))},
    )


def test_without_tf32_the_plan_is_another(perceptron: Path, tmp_path: Path) -> None:
    rounded = build(perceptron, tmp_path / "rounded.plan", options(capabilities=("8.6",)))
    full = build(perceptron, tmp_path / "full.plan", options(capabilities=("8.6",), tf32=False))
    assert (rounded.sidecar.options["tf32"], full.sidecar.options["tf32"]) == (True, False)
    assert rounded.plan.read_bytes() != full.plan.read_bytes()


def test_a_workspace_too_small_is_named(perceptron: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="fits the workspace") as caught:
        build(perceptron, tmp_path / "model.plan", options(capabilities=("8.6",), workspace_bytes=1 << 20))
    assert "--workspace" in caught.value.hint


def test_what_the_products_compute_in_is_read_back(perceptron: Path, tmp_path: Path) -> None:
    full = build(perceptron, tmp_path / "full.plan", options(capabilities=("8.6",))).sidecar.proof
    half = build(perceptron, tmp_path / "half.plan", options(Precision.FP16, capabilities=("8.6",))).sidecar.proof
    assert full == Proof("network", {"float32": 2})
    assert half == Proof("network", {"float16": 2})


def test_a_kept_product_stays_wide_and_is_recorded(perceptron: Path, tmp_path: Path) -> None:
    asked = options(Precision.FP16, keep_fp32=("node_y",), capabilities=("8.6",))
    model = onnx.load(perceptron)
    model.graph.node[-1].name = "node_y"
    onnx.save(model, perceptron)
    sidecar = build(perceptron, tmp_path / "model.plan", asked).sidecar
    assert sidecar.proof == Proof("network", {"float16": 1, "float32": 1}, ("node_y",))
    assert sidecar.options["keep_fp32"] == "node_y"


@pytest.mark.parametrize(("operator", "gates", "products"), [("LSTM", 4, 2), ("GRU", 3, 4)])
def test_a_kept_recurrence_is_proven_by_its_products(tmp_path: Path, operator: str, gates: int, products: int) -> None:
    body = f"[mm] a = MatMul(x, m) [cells] b = {operator}<hidden_size=4>(a, w, r) y = Squeeze(b, one)"
    given = {"m": weights(8, 8), "w": weights(1, 4 * gates, 8), "r": weights(1, 4 * gates, 4), "one": np.array([1])}
    path = save(make("(float[3,2,8] x) => (float[3,2,4] y)", body, given), tmp_path / "model.onnx")
    asked = options(Precision.FP16, keep_fp32=("cells",), capabilities=("8.6",))
    proof = build(path, tmp_path / "model.plan", asked).sidecar.proof
    assert proof == Proof("network", {"float16": 1, "float32": products}, ("cells",))


def test_a_model_that_overflows_is_reported_with_the_node_and_the_repair_works(tmp_path: Path) -> None:
    body = "[grow] a = MatMul(x, w) y = MatMul(a, v)"
    given = {"w": np.full((16, 16), 6e4, np.float32), "v": np.full((16, 4), 1e-5, np.float32)}
    path = save(make("(float[4,16] x) => (float[4,4] y)", body, given), tmp_path / "model.onnx")
    told = r"fp16 breaks the model: output 'y': \d+ elements that are finite in fp32 are not in fp16.*overflow: 'grow'"
    with pytest.raises(BuildError, match=told) as caught:
        build(path, tmp_path / "model.plan", options(Precision.FP16, capabilities=("8.6",)))
    assert files_of(tmp_path) == {"model.onnx"}
    assert caught.value.hint is not None
    names = tuple(caught.value.hint.split("--keep-fp32 ")[1:])
    kept = tuple(name.strip() for name in names)
    result = build(path, tmp_path / "model.plan", options(Precision.FP16, keep_fp32=kept, capabilities=("8.6",)))
    assert result.sidecar.proof is not None
    assert "grow" in result.sidecar.proof.kept
    assert result.cost is not None
    assert not result.cost.broken


@pytest.fixture
def vanishing(tmp_path: Path) -> Path:
    """A model whose output float16 rounds to zero, without overflow."""
    body = "a = MatMul(x, w) b = Mul(a, tiny) y = Mul(b, tiny)"
    given = {"w": weights(16, 4), "tiny": np.array(1e-5, np.float32)}
    return save(make("(float[4,16] x) => (float[4,4] y)", body, given), tmp_path / "model.onnx")


def test_a_loss_on_random_inputs_is_a_warning_that_the_sidecar_keeps(vanishing: Path, tmp_path: Path) -> None:
    plan = tmp_path / "model.plan"
    arguments = ["build", str(vanishing), "-o", str(plan), "--target", "rtx", "--fp16", "--compute-capability", "8.6"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    told = "output 'y': the cosine similarity with fp32 is 0, below 0.9999"
    assert f"⚠ {told} (measure it on typical inputs with --calibration)" in done.stdout
    loss = read_sidecar(plan).loss
    assert loss is not None
    assert (loss.inputs, loss.feeds, loss.beyond, loss.outputs[0].cosine) == ("random", 2, (told,), 0)
    assert f"⚠ {told}" in CliRunner().invoke(cli, ["inspect", str(plan)]).stdout


def test_a_loss_on_calibration_data_fails_unless_it_is_accepted(vanishing: Path, tmp_path: Path) -> None:
    data = tmp_path / "feed.npz"
    np.savez(data, x=weights(4, 16))
    asked = {"calibration": data, "capabilities": ("8.6",)}
    with pytest.raises(BuildError, match="fp16 breaks the model: output 'y': the cosine similarity") as caught:
        build(vanishing, tmp_path / "model.plan", options(Precision.FP16, **asked))
    assert "--accept-loss" in str(caught.value.hint)
    assert caught.value.exit_code == 1
    assert files_of(tmp_path) == {"model.onnx", "feed.npz"}
    loss = build(vanishing, tmp_path / "model.plan", options(Precision.FP16, accept_loss=True, **asked)).sidecar.loss
    assert loss is not None
    assert (loss.inputs, len(loss.beyond)) == ("calibration", 1)


def test_lost_values_cannot_be_accepted(tmp_path: Path) -> None:
    body, given = "y = MatMul(x, w)", {"w": np.full((16, 16), 6e4, np.float32)}
    path = save(make("(float[4,16] x) => (float[4,16] y)", body, given), tmp_path / "model.onnx")
    with pytest.raises(BuildError, match="elements that are finite in fp32 are not in fp16"):
        build(path, tmp_path / "model.plan", options(Precision.FP16, accept_loss=True, capabilities=("8.6",)))


def test_a_bfloat16_convolution_below_opset_22_builds_without_a_word(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = save(small_models.convolution(), tmp_path / "model.onnx")
    result = build(path, tmp_path / "model.plan", options(Precision.BF16, capabilities=("8.6",)))
    assert result.sidecar.proof == Proof("network", {"bfloat16": 1})
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_int8_needs_calibration_data(perceptron: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="calibration data"):
        build(perceptron, tmp_path / "model.plan", options(Precision.INT8))


def test_a_product_that_stayed_wider_fails_the_build_and_leaves_the_old_plan_alone(
    perceptron: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = build(perceptron, tmp_path / "model.plan", options(capabilities=("8.6",))).plan
    before = plan.read_bytes()
    # the graph stays as it is, as if the typing had been forgotten
    monkeypatch.setattr("s2deploy.engine.preparing.typed_for", lambda model, *_, **__: Typed(model, True))
    with pytest.raises(
        BuildError, match=r"2 matrix products .* wider type than fp16: 'node_of_a' \(float32\)"
    ) as caught:
        build(perceptron, plan, options(Precision.FP16, capabilities=("8.6",)))
    assert "--keep-fp32" in caught.value.hint
    assert plan.read_bytes() == before
    assert read_sidecar(plan).precision == "fp32"
