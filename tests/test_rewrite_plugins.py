"""Shifts and weighted sums of shifted branches as operators of the plugins, with functions that say what they mean."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from rewriting import assert_close, assert_same_bits, feeds, session
from small_models import make
from torch import Tensor, nn

import s2deploy
from s2deploy import ops
from s2deploy.cli import cli
from s2deploy.engine.plugin_nodes import as_plugins
from s2deploy.metadata import read_metadata
from s2deploy.ops import Border, Configuration, Shift
from s2deploy.precision.functions import inline
from s2deploy.rewrite import PLUGIN_PASSES, RewriteReport, plugin_operators, rewrite
from s2deploy.rewrite.plugin_functions import operator_node
from s2deploy.specs import Dim

SIZES = [(2, 4, 5), (1, 1, 1), (1, 2, 1), (3, 1, 2), (2, 7, 3)]


def shifting(border: str = "first_row", dtype: str = "float") -> onnx.ModelProto:
    """Returns a file that shifts channels 0 to 2 one row down and channels 2 to 4 one column to the left."""
    return onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        shift ({dtype}[n,6,h,w] x) => ({dtype}[n,6,h,w] y)
        <int64[1] c0={{0}}, int64[1] c2={{2}}, int64[1] c4={{4}}, int64[1] end={{9223372036854775807}},
         int64[1] one={{1}}, int64[1] minus={{-1}}, int64[1] r={{2}}, int64[1] q={{3}}> {{
            a = Slice(x, c0, c2, one)
            b = Slice(x, c2, c4, one)
            rest = Slice(x, c4, end, one)
            upper = Slice(a, c0, minus, r)
            first_row = Slice(a, c0, one, r)
            last_row = Slice(a, minus, end, r)
            moved_a = Concat <axis = 2> ({border}, upper)
            right = Slice(b, one, end, q)
            last_column = Slice(b, minus, end, q)
            moved_b = Concat <axis = 3> (right, last_column)
            y = Concat <axis = 1> (moved_a, moved_b, rest)
        }}""")


def fused(model: onnx.ModelProto, ranges: dict[str, Dim] | None = None) -> tuple[onnx.ModelProto, RewriteReport]:
    graph = ir.from_proto(model)
    report = rewrite(graph, ranges, PLUGIN_PASSES)
    result = ir.to_proto(graph)
    onnx.checker.check_model(result)
    again = ir.from_proto(result)
    rewrite(again, ranges, PLUGIN_PASSES)
    assert ir.to_proto(again).SerializeToString(deterministic=True) == result.SerializeToString(deterministic=True)
    return result, report


def test_a_shift_is_one_node_and_the_same_bits() -> None:
    model = shifting()
    result, report = fused(model)
    assert [node.op_type for node in result.graph.node] == ["SpatialShift"]
    assert result.ir_version == 8
    assert report.rewrites[-1].after == {"SpatialShift": 1}
    groups = next(attribute.ints for attribute in result.graph.node[0].attribute if attribute.name == "groups")
    assert list(groups) == [0, 2, -1, 0, 2, 4, 0, 1]
    for n, h, w in [*SIZES, (0, 2, 3)]:
        given = feeds(model, {"n": n, "h": h, "w": w})
        assert_same_bits(session(model).run(None, given), session(result).run(None, given))


def test_what_is_no_shift_stays_and_says_why() -> None:
    result, report = fused(shifting("last_row"))
    assert "SpatialShift" not in {node.op_type for node in result.graph.node}
    assert any("not shifted as a whole" in refusal.reason for refusal in report.refusals)
    result, report = fused(shifting(dtype="double"))
    assert "SpatialShift" not in {node.op_type for node in result.graph.node}
    assert any("take no double" in refusal.reason for refusal in report.refusals)


def clip(layout: str, along: str, border: str = "zero", dynamic: str = "nt") -> onnx.ModelProto:
    """Returns a file that moves channels 0 and 1 of 5 one step, channel 2 one step back, along an axis of a clip.

    Args:
        layout: The axes in order, of ``nthwc``; 3 pictures of 3 x 4, 2 clips.
        along: The axis.
        border: ``zero``, or ``edge`` for the nearest picture, row or column.
        dynamic: The axes without a fixed size.
    """
    sizes = {"n": 2, "t": 3, "h": 3, "w": 4, "c": 5}
    shape = ",".join(axis if axis in dynamic else str(sizes[axis]) for axis in layout)
    axis, channel = layout.index(along), layout.index("c")
    pads = [0] * 10
    pads[axis] = 1
    zero = f"early = Pad(a_most, [{pads}]) late = Pad(b_most, [{[0] * 5 + pads[:5]}])"
    edge = f"early = Concat<axis = {axis}>(a_first, a_most) late = Concat<axis = {axis}>(b_most, b_last)"
    body = f"""
        a = Slice(x, [[0]], [[2]], [[{channel}]]) b = Slice(x, [[2]], [[3]], [[{channel}]])
        rest = Slice(x, [[3]], [[9]], [[{channel}]])
        a_most = Slice(a, [[0]], [[-1]], [[{axis}]]) a_first = Slice(a, [[0]], [[1]], [[{axis}]])
        b_most = Slice(b, [[1]], [[9223372036854775807]], [[{axis}]])
        b_last = Slice(b, [[-1]], [[9223372036854775807]], [[{axis}]])
        {zero if border == "zero" else edge}
        y = Concat<axis = {channel}>(early, late, rest)"""
    weights: dict[str, np.ndarray] = {}
    for text in re.findall(r"\[\[.*?\]\]", body):
        weights.setdefault(f"i{len(weights)}", np.array(json.loads(text)[0], np.int64))
        body = body.replace(text, f"i{len(weights) - 1}")
    return make(f"(float[{shape}] x) => (float[{shape}] y)", body, weights, opset=17)


@pytest.mark.parametrize("border", ["zero", "edge"])
@pytest.mark.parametrize(
    ("layout", "along", "dynamic"),
    [
        ("ntchw", "t", "nt"), ("nthwc", "t", "nt"), ("ncthw", "t", "nt"), ("ncthw", "t", "t"),
        ("ntchw", "h", "n"), ("ntchw", "w", "t"), ("nthwc", "h", ""), ("nthwc", "w", "n"),
    ],
)  # fmt: skip
def test_a_clip_is_seen_as_a_feature_map(layout: str, along: str, dynamic: str, border: str) -> None:
    model = clip(layout, along, border, dynamic)
    result, report = fused(model)
    assert Counter(node.op_type for node in result.graph.node) == {"Reshape": 2, "SpatialShift": 1}
    told = {a.name: onnx.helper.get_attribute_value(a) for a in result.graph.node[1].attribute}
    assert told.get("border", 0) == (Border.ZERO if border == "zero" else Border.REPLICATE)
    assert not any("SpatialShift" in refusal.reason for refusal in report.refusals)
    for sizes in [
        {"n": 2, "t": 3, "h": 2},
        {"n": 1, "t": 1, "h": 1},
        {"n": 3, "t": 2, "h": 5},
        {"n": 0, "t": 4, "h": 2},
    ]:
        given = feeds(model, {axis: size for axis, size in sizes.items() if axis in dynamic})
        assert_same_bits(session(model).run(None, given), session(result).run(None, given))


@pytest.mark.parametrize(
    ("layout", "along", "dynamic", "reason"),
    [
        ("ntchw", "t", "tw", "sizes of a picture are not known"),
        ("ncthw", "t", "hw", "several sizes are not known"),
        ("ncthw", "t", "nh", "several sizes are not known"),
        ("nthwc", "t", "nth", "several sizes are not known"),
        ("ntchw", "h", "nt", "several sizes are not known"),
        ("tnchw", "t", "", "other samples or channels"),
    ],
)
def test_a_clip_that_is_no_feature_map_says_why(layout: str, along: str, dynamic: str, reason: str) -> None:
    result, report = fused(clip(layout, along, "zero", dynamic))
    assert "SpatialShift" not in {node.op_type for node in result.graph.node}
    assert any(f"no SpatialShift: {reason}" in r.reason or reason in r.reason for r in report.refusals)


class TemporalShift(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """Moves an eighth of the channels of ``NT x 8 x H x W`` by one picture of four each way, zeros arriving."""
        nt, c, h, w = x.shape
        x = x.view(nt // 4, 4, c, h, w)
        moved = torch.zeros_like(x)
        moved[:, :-1, :1] = x[:, 1:, :1]
        moved[:, 1:, 1:2] = x[:, :-1, 1:2]
        moved[:, :, 2:] = x[:, :, 2:]
        return moved.view(nt, c, h, w) * 2.0


def test_a_temporal_shift_module(tmp_path: Path) -> None:
    plain, plugin = exported(TemporalShift(), "x:nt=4..8..16/4,8,3,5", tmp_path)
    assert [node.op_type for node in plugin.graph.node].count("SpatialShift") == 1
    assert not {"Concat", "Slice", "Pad"} & {node.op_type for node in plugin.graph.node}
    given = {"x": np.random.default_rng(0).standard_normal((12, 8, 3, 5)).astype(np.float32)}
    assert_same_bits(session(plain).run(None, given), session(plugin).run(None, given))


def test_configurations_have_names_of_their_own() -> None:
    """Overloads of one name would be valid ONNX, but onnxruntime 1.23 computes one of them for all."""
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1, 3, 2, 2]))
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": 20}, name="three")
    model = ir.Model(graph, ir_version=8)
    value = x
    for dy in (1, -1, 1):
        node = operator_node(model, ops.SPATIAL_SHIFT, Configuration((Shift(0, 2, dy, 0),)), 3, [value])
        graph.append(node)
        value = node.outputs[0]
        value.name, value.type, value.shape = f"y{len(graph)}", x.type, x.shape
    graph.outputs.append(value)
    assert [node.op_type for node in graph] == ["SpatialShift", "SpatialShift_2", "SpatialShift"]
    assert plugin_operators(model) == ("SpatialShift",)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    assert {function.overload for function in proto.functions} == {""}
    given = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    wanted = given
    for dy in (1, -1, 1):
        wanted = ops.spatial_shift(Configuration((Shift(0, 2, dy, 0),)), wanted)
    assert_same_bits([wanted], session(proto).run(None, {"x": given}))
    as_plugins(model)
    assert [node.op_type for node in graph] == ["SpatialShift"] * 3


def test_without_the_passes_nothing_is_a_plugin() -> None:
    graph = ir.from_proto(shifting())
    rewrite(graph)
    assert not graph.functions


class Zeros(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """Moves two groups of ``N x 7 x H x W`` into zeros, or leaves them where nothing arrives."""
        moved = torch.zeros_like(x)
        moved[:, :2, :, :-1] = x[:, :2, :, 1:]
        moved[:, 2:3, 1:] = x[:, 2:3, :-1]
        moved[:, 3:] = x[:, 3:]
        return moved * 2.0


class Kept(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """Moves channels of ``N x 7 x H x W`` by two rows and a column where both lie inside."""
        moved = x.clone()
        moved[:, :3, 2:, 1:] = x[:, :3, :-2, :-1]
        return moved * 2.0


class Attention(nn.Module):
    """Split attention over three parts of the channels of ``N x H x W x 8``, two of them shifted."""

    def __init__(self, read_twice: bool = False) -> None:
        super().__init__()
        self.expand, self.weigh, self.read_twice = nn.Linear(8, 15), nn.Linear(5, 15), read_twice

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``N x H x W x 8`` to ``N x H x W x 5``."""
        n, h, w, _ = x.shape
        first, second, third = self.expand(x).split(5, dim=-1)
        first, second = first.clone(), second.clone()
        first[:, 1:, :, :2] = first[:, :-1, :, :2].clone()
        second[:, :, :-1, 1:] = second[:, :, 1:, 1:].clone()
        maps = torch.stack([first, second, third], dim=1).reshape(n, 3, h * w, 5)
        weights = self.weigh(maps.sum(dim=1).sum(dim=1)).reshape(n, 3, 5).softmax(dim=1)
        y = (weights[:, :, None] * maps).sum(dim=1).reshape(n, h, w, 5)
        return y + maps.amax(dim=1).reshape(n, h, w, 5) if self.read_twice else y


def exported(module: nn.Module, spec: str, folder: Path) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Exports with and without plugins; each is proven against PyTorch on onnxruntime by that."""
    torch.manual_seed(0)
    module.eval()
    assert s2deploy.export(module, folder / "plain.onnx", inputs=[spec]).passed
    result = s2deploy.export(module, folder / "plugin.onnx", inputs=[spec], plugin=True)
    assert result.passed
    assert not result.rewrites.withdrawn
    return onnx.load(folder / "plain.onnx"), onnx.load(folder / "plugin.onnx")


@pytest.mark.parametrize(("module", "border"), [(Zeros(), Border.ZERO), (Kept(), Border.KEEP)])
def test_borders_of_modules(module: nn.Module, border: Border, tmp_path: Path) -> None:
    plain, plugin = exported(module, "x:n=1..2..4,7,h=3..5..9,w=2..4..9", tmp_path)
    (node,) = (node for node in plugin.graph.node if node.domain == "s2deploy")
    assert {a.name: a.i for a in node.attribute}["border"] == border
    for n, h, w in [(2, 5, 4), (1, 3, 2), (4, 9, 9)]:
        given = {"x": np.random.default_rng(0).standard_normal((n, 7, h, w)).astype(np.float32)}
        assert_same_bits(session(plain).run(None, given), session(plugin).run(None, given))


def test_split_attention_is_two_operators_on_the_tensor_itself(tmp_path: Path) -> None:
    plain, plugin = exported(Attention(), "x:n=1..2..4,h=1..4..9,w=1..5..9,8", tmp_path)
    operators = [node.op_type for node in plugin.graph.node]
    assert operators.count("ShiftSum") == operators.count("ShiftSumPool") == 1
    assert not {"Concat", "Slice", "Pad"} & set(operators)
    assert read_metadata(tmp_path / "plugin.onnx").plugins == ("ShiftSum", "ShiftSumPool")
    for n, h, w in SIZES:
        given = {"x": np.random.default_rng(0).standard_normal((n, h, w, 8)).astype(np.float32)}
        first, second = session(plain).run(None, given)[0], session(plugin).run(None, given)[0]
        assert np.abs(first - second).max() <= 1e-5 * np.abs(first).max()


def test_a_stack_that_something_else_reads_is_refused(tmp_path: Path) -> None:
    result = s2deploy.export(
        Attention(read_twice=True).eval(), tmp_path / "m.onnx", inputs=["x:2,4,5,8"], plugin=True, validate=False
    )
    assert any("reads the stack" in refusal.reason for refusal in result.rewrites.refusals)
    assert read_metadata(tmp_path / "m.onnx").plugins == ()


def test_a_build_is_given_the_functions_written_out(tmp_path: Path) -> None:
    _, plugin = exported(Attention(), "x:2,4,5,8", tmp_path)
    model = ir.from_proto(plugin)
    assert inline(model)
    result = ir.to_proto(model)
    assert not result.functions
    assert {node.domain for node in result.graph.node} == {""}
    given = {"x": np.random.default_rng(0).standard_normal((2, 4, 5, 8)).astype(np.float32)}
    assert_close(session(plugin).run(None, given), session(result).run(None, given))
    assert not inline(model)


def test_a_file_with_operators_is_exported_again_as_it_is_and_inspected(tmp_path: Path) -> None:
    exported(Kept(), "x:2,7,5,4", tmp_path)
    again = s2deploy.export(tmp_path / "plugin.onnx", tmp_path / "again.onnx")
    assert again.passed
    assert [node.op_type for node in onnx.load(tmp_path / "again.onnx").graph.node] == ["SpatialShift", "Mul"]
    text = CliRunner().invoke(cli, ["inspect", str(tmp_path / "plugin.onnx")]).output
    assert "s2deploy::SpatialShift" in text
    onnxruntime.InferenceSession(str(tmp_path / "again.onnx"), providers=["CPUExecutionProvider"])
