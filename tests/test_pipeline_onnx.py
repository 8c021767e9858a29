"""`export` of ONNX files of any origin: what is proven, and what is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from small_models import make

import s2deploy
from s2deploy.errors import S2DeployError
from s2deploy.summary import export_lines


def graph_of(path: Path) -> bytes:
    return onnx.load(path).graph.SerializeToString(deterministic=True)


def test_a_file_without_ranges_stays_right_at_every_size_however_often_it_is_exported(tmp_path: Path) -> None:
    body = "a = Slice(x, zero, one, one) b = Slice(x, zero, last, one) y = Concat<axis = 1>(a, b)"
    numbers = {"zero": np.array([0]), "one": np.array([1]), "last": np.array([-1])}
    onnx.save(make("(float[b,h,4] x) => (float[b,h,4] y)", body, numbers), tmp_path / "source.onnx")
    once = s2deploy.export(tmp_path / "source.onnx", tmp_path / "once.onnx")
    again = s2deploy.export(tmp_path / "once.onnx", tmp_path / "twice.onnx")
    assert again.rewrites.guards == once.rewrites.guards
    assert graph_of(tmp_path / "twice.onnx") == graph_of(tmp_path / "once.onnx")


def test_sizes_that_only_go_together_are_validated_together(tmp_path: Path) -> None:
    model = make("(float[a,3] x, float[b,3] z) => (float[a,3] y)", "s = Add(x, z) y = Relu(s)")
    onnx.save(model, tmp_path / "source.onnx")
    result = s2deploy.export(tmp_path / "source.onnx", tmp_path / "out.onnx")
    assert result.comparison is not None
    assert [feed.sizes for feed in result.comparison.feeds][:2] == [{"a": 2, "b": 2}, {"a": 3, "b": 3}]


@pytest.mark.parametrize("outside", ["float", "float16"])
def test_sums_in_16_bits_may_round_in_another_order(outside: str, tmp_path: Path) -> None:
    names = "abcd"
    body = "".join(f"{n}1 = Cast<to = 10>({n}) {n}2 = Unsqueeze({n}1, one) " for n in names)
    body += f"s = Concat<axis = 1>({', '.join(f'{n}2' for n in names)}) r = ReduceSum<keepdims = 0>(s, one) "
    body += f"y = Cast<to = {1 if outside == 'float' else 10}>(r)"
    inputs = ", ".join(f"{outside}[64,32] {name}" for name in names)
    onnx.save(make(f"({inputs}) => ({outside}[64,32] y)", body, {"one": np.array([1])}), tmp_path / "source.onnx")
    result = s2deploy.export(tmp_path / "source.onnx", tmp_path / "out.onnx")
    assert result.passed
    assert result.rewrites.withdrawn == ()
    assert "Sum" in {node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node}
    assert result.comparison is not None
    assert result.comparison.tolerance.atol == 4 * 2.0**-10
    if outside == "float":
        exact = s2deploy.export(tmp_path / "source.onnx", tmp_path / "exact.onnx", atol=1e-6, rtol=0)
        assert [entry.change.pass_name for entry in exact.rewrites.withdrawn] == ["unstack"]


def test_what_onnxruntime_does_not_know_can_be_written_without_a_proof(tmp_path: Path) -> None:
    model = make("(float[2,3] x) => (float[2,3] y)", "a = Relu(x) y = Identity(a)")
    model.graph.node[0].domain = "my"
    model.opset_import.append(onnx.helper.make_opsetid("my", 1))
    onnx.save(model, tmp_path / "source.onnx")
    with pytest.raises(S2DeployError, match="my:Relu") as caught:
        s2deploy.export(tmp_path / "source.onnx", tmp_path / "out.onnx")
    assert "--no-validate" in str(caught.value.hint)
    s2deploy.export(tmp_path / "source.onnx", tmp_path / "out.onnx", validate=False)
    assert [(node.domain, node.op_type) for node in onnx.load(tmp_path / "out.onnx").graph.node] == [("my", "Relu")]


@pytest.mark.parametrize(("size", "said"), [("4", False), ("n", True)])
def test_fixed_sizes_are_no_condition(size: str, said: bool, tmp_path: Path) -> None:
    onnx.save(make(f"(float[{size},3] x) => (float[{size},3] y)", "y = Relu(x)"), tmp_path / "source.onnx")
    result = s2deploy.export(tmp_path / "source.onnx", tmp_path / "out.onnx", validate=False)
    assert any("right where" in line for line in export_lines(result, "source.onnx", explain=True)) is said


def test_casts_to_no_type_at_all_are_errors_of_the_file(tmp_path: Path) -> None:
    model = make("(float[2,3] x) => (float[2,3] y)", "a = Cast<to = 2147483647>(x) b = Cast<to = 1>(a) y = Relu(b)")
    onnx.save(model, tmp_path / "source.onnx")
    with pytest.raises(S2DeployError) as caught:
        s2deploy.export(tmp_path / "source.onnx", tmp_path / "out.onnx")
    assert caught.value.hint
    assert not (tmp_path / "out.onnx").exists()


def test_transforms_that_onnxruntime_computes_coarsely_still_become_products(tmp_path: Path) -> None:
    body = (
        "a = DFT<onesided = 1>(x, , across) b = DFT(a, , down) c = Mul(b, half) "
        "d = DFT<inverse = 1>(c, , down) y = DFT<inverse = 1, onesided = 1>(d, width, across)"
    )
    numbers = {"across": np.array(2), "down": np.array(1), "width": np.array(225), "half": np.array(0.5, np.float32)}
    model = make("(float[b,90,225,1] x) => (float[b,90,225,1] y)", body, numbers, opset=20)
    onnx.save(model, tmp_path / "source.onnx")
    result = s2deploy.export(tmp_path / "source.onnx", tmp_path / "out.onnx", inputs=["x:b=1..2,90,225,1"])
    assert result.passed
    assert result.rewrites.withdrawn == ()
    assert "DFT" not in {node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node}
