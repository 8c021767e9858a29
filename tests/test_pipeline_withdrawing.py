"""Wrong rewrites are left out one by one; everything else is kept, and the file is right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from click.testing import CliRunner
from small_models import make

import s2deploy
import s2deploy.rewrite as rewriting
from s2deploy.cli import cli
from s2deploy.feeds import Feed
from s2deploy.pipeline import exporting, withdrawing
from s2deploy.rewrite import Changes, movement, rewrite, rules, understanding
from s2deploy.rewrite.lower import Lowering
from s2deploy.rewrite.refusals import BROKE_DOWN, NotMovementError
from s2deploy.runtime import Worker

BLOCKS = 5


def chain(blocks: int = BLOCKS) -> onnx.ModelProto:
    """Returns a model with one slice assignment in each of several blocks, named by their outputs."""
    body = "".join(
        f"a{k} = Slice(v{k}, zero, last) b{k} = ScatterND(v{k}, places, a{k}) "
        f"c{k} = LeakyRelu(b{k}) v{k + 1} = Add(c{k}, v{k}) "
        for k in range(blocks)
    )
    return make(
        f"(float[4,3] v0) => (float[4,3] v{blocks})",
        body,
        {"zero": np.array([0]), "last": np.array([-1]), "places": np.array([[1], [2], [3]])},
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    onnx.save(chain(), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def export(source: Path, **arguments: Any) -> s2deploy.ExportResult:
    return s2deploy.export(source, source.with_name("out.onnx"), **arguments)


def scatters(path: Path) -> list[str]:
    return [node.output[0] for node in onnx.load(path).graph.node if node.op_type == "ScatterND"]


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def spoil(monkeypatch: pytest.MonkeyPatch, names: set[str], defect: Callable[[ir.Graph, ir.Node], ir.Value]) -> None:
    """Lets the rewrite of some tensors go wrong."""
    original = Lowering.substitute

    def substitute(self: Lowering, old: ir.Value, new: ir.Value, before: ir.Node) -> None:
        if old.name in names:
            new = defect(self._graph, before)
        original(self, old, new, before)

    monkeypatch.setattr(Lowering, "substitute", substitute)


def negated(graph: ir.Graph, before: ir.Node) -> ir.Value:
    node = ir.node("Neg", [before.inputs[0]])
    node.outputs[0].type, node.outputs[0].shape = before.outputs[0].type, before.outputs[0].shape
    graph.insert_before(before, node)
    return node.outputs[0]


def slightly_off(graph: ir.Graph, before: ir.Node) -> ir.Value:
    """Returns a tensor that differs by less than the usual tolerance."""
    factor = ir.Value(name="factor", const_value=ir.tensor(np.array(1.0003, np.float32), name="factor"))
    graph.register_initializer(factor)
    node = ir.node("Mul", [before.inputs[0], factor])
    graph.insert_before(before, node)
    return node.outputs[0]


def refused(graph: ir.Graph, before: ir.Node) -> ir.Value:
    """Returns a tensor that no runtime computes."""
    node = ir.node("NoSuchOperator", [before.inputs[0]])
    graph.insert_before(before, node)
    return node.outputs[0]


def raising(graph: ir.Graph, before: ir.Node) -> ir.Value:
    graph.remove(next(iter(reversed(graph))), safe=False)  # half done
    raise TypeError("a defect")


@pytest.mark.parametrize("wrong", [{"b0"}, {"b2"}, {"b4"}, {"b1", "b3"}, {f"b{k}" for k in range(BLOCKS)}])
def test_only_what_is_wrong_is_withdrawn(wrong: set[str], source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, wrong, negated)
    result = export(source)
    assert result.passed
    assert result.comparison is not None
    assert result.comparison.identical
    assert result.output is not None
    assert set(scatters(result.output)) == wrong
    assert {withdrawal.change.part for withdrawal in result.rewrites.withdrawn} == wrong
    for withdrawal in result.rewrites.withdrawn:
        assert withdrawal.change.pass_name == "compose"
        assert withdrawal.output == f"v{BLOCKS}"
        assert withdrawal.worst_absolute is not None
        assert withdrawal.worst_absolute > 1e-3
    assert {refusal.reason for refusal in result.rewrites.refusals} == {movement._WITHDRAWN}
    replaced = [rewrite for rewrite in result.rewrites.rewrites if "ScatterND" in rewrite.before]
    assert len(replaced) == BLOCKS - len(wrong)
    assert files(source.parent) == {"model.onnx", "out.onnx"}


@pytest.mark.parametrize(
    ("defect", "words"),
    [(slightly_off, "differ"), (refused, "onnxruntime cannot load"), (raising, "TypeError: a defect")],
)
def test_whatever_goes_wrong_costs_one_region(
    defect: Any, words: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, {"b3"}, defect)
    result = export(source)
    assert result.output is not None
    assert scatters(result.output) == ["b3"]
    (withdrawal,) = result.rewrites.withdrawn
    assert withdrawal.change.part == "b3"
    assert words in withdrawal.reason
    assert "withdrawn: compose of b3" in result.remarks[-1]


def test_without_validation_a_rewrite_that_breaks_down_is_still_left_out(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, {"b3"}, raising)
    result = export(source, validate=False)
    assert result.output is not None
    assert scatters(result.output) == ["b3"]


def steepen_a_slope(model: ir.Model, _: rewriting.Context) -> None:
    node = next(node for node in model.graph if node.op_type == "LeakyRelu")
    node.attributes["alpha"] = ir.AttrFloat32("alpha", 0.9)


def break_down(model: ir.Model, _: rewriting.Context) -> None:
    model.graph.remove(next(iter(reversed(model.graph))), safe=False)
    raise TypeError("a defect")


LAST = len(rewriting.DEFAULT_PASSES)


@pytest.mark.parametrize(
    ("defect", "position"), [(steepen_a_slope, LAST), (break_down, 0), (break_down, 2), (break_down, LAST)]
)
def test_a_wrong_pass_is_withdrawn_and_the_others_run(
    defect: rewriting.Pass, position: int, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = list(rewriting.DEFAULT_PASSES)
    passes.insert(position, defect)
    monkeypatch.setattr(exporting, "DEFAULT_PASSES", tuple(passes))
    result = export(source)
    assert result.passed
    assert [str(withdrawal.change) for withdrawal in result.rewrites.withdrawn] == [defect.__name__]
    assert result.rewrites.scatters_after == 0


def test_a_search_that_takes_too_long_keeps_what_is_known_to_be_right(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, {"b2", "b3", "b4"}, negated)
    monkeypatch.setattr(withdrawing, "_MOST_TRIALS", 8)
    result = export(source)
    assert result.passed
    assert result.output is not None
    assert scatters(result.output) == ["b2", "b3", "b4"]
    assert "given up" in result.remarks[-1]


def test_a_source_that_differs_by_itself_is_not_blamed_on_the_rewrite(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Worker.side

    def unsteady(self: Worker, path: Path, *, optimized: bool = True) -> Callable[[Feed], Feed]:
        side = original(self, path, optimized=optimized)
        return lambda feed: {name: array + (path != source) for name, array in side(feed).items()}

    monkeypatch.setattr(Worker, "side", unsteady)
    done = CliRunner().invoke(cli, ["export", str(source), "-o", str(source.with_name("out.onnx")), "--json"])
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert document["output"] is None
    assert document["rewrites"]["withdrawn"] == []
    assert files(source.parent) == {"model.onnx"}


def test_the_withdrawal_is_in_the_document_and_in_the_explanation(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, {"b1"}, negated)
    command = ["export", str(source), "-o", str(source.with_name("out.onnx"))]
    document = json.loads(CliRunner().invoke(cli, [*command, "--json"]).stdout)
    (withdrawal,) = document["rewrites"]["withdrawn"]
    assert withdrawal["change"] == {"pass_name": "compose", "part": "b1"}
    assert withdrawal["output"] == f"v{BLOCKS}"
    done = CliRunner().invoke(cli, [*command, "--explain"])
    assert done.exit_code == 0
    assert "withdrawn: 1\n  compose of b1: output 'v5'" in done.stdout


def test_both_sides_never_run_at_once_and_the_original_runs_first(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, bool]] = []
    original = Worker._ask

    def ask(self: Worker, command: dict[str, Any], *rest: Any) -> None:
        if "open" in command:
            opened.append((Path(command["open"]).name, command["optimized"]))
        original(self, command, *rest)

    monkeypatch.setattr(Worker, "_ask", ask)
    export(source, inputs=["v0:4,3"])
    assert opened == [("model.onnx", False), ("out.onnx", False), ("model.onnx", True), ("out.onnx", True)]


def test_any_beginning_of_the_changes_is_right() -> None:
    everything = Changes()
    rewrite(ir.from_proto(chain()), changes=everything)
    for most in range(len(everything.made) + 1):
        changes = Changes(most=most)
        model = ir.from_proto(chain())
        rewrite(model, changes=changes)
        assert changes.made == everything.made[:most]
        onnx.checker.check_model(ir.to_proto(model), full_check=True)


@pytest.mark.parametrize("dying", ["original", "result"])
def test_a_worker_that_dies_is_an_error_and_no_file_is_left(
    dying: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Worker._ask

    def ask(self: Worker, command: dict[str, Any], *rest: Any) -> None:
        name = {"original": "model.onnx", "result": "out.onnx"}[dying]
        if "open" in command and Path(command["open"]).name in (name, "model.onnx" if dying == "original" else name):
            assert self._process is not None
            self._process.kill()
        original(self, command, *rest)

    monkeypatch.setattr(Worker, "_ask", ask)
    if dying == "original":
        with pytest.raises(s2deploy.S2DeployError, match="memory runs out"):
            export(source)
        assert files(source.parent) == {"model.onnx"}
        return
    with pytest.raises(s2deploy.S2DeployError, match="memory runs out"):
        export(source)
    assert files(source.parent) == {"model.onnx"}


def test_a_rule_that_breaks_down_costs_one_region(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = rules.RULES["ScatterND"]

    def rule(facts: Any, node: ir.Node) -> Any:
        if node.outputs[0].name == "b3":
            raise AttributeError("a defect")
        return original(facts, node)

    def gathered(facts: Any, node: ir.Node) -> Any:
        raise NotMovementError("no other form either")

    monkeypatch.setitem(rules.RULES, "ScatterND", rule)
    monkeypatch.setattr(movement, "gathered", gathered)
    result = export(source)
    assert result.passed
    assert result.output is not None
    assert scatters(result.output) == ["b3"]
    assert result.rewrites.withdrawn == ()
    (refusal,) = result.rewrites.refusals
    assert refusal.reason == f"{BROKE_DOWN} (AttributeError: a defect)"


def test_a_tensor_that_cannot_be_written_down_costs_no_other_pass(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def emit(*_: Any) -> Any:
        raise AttributeError("a defect")

    monkeypatch.setattr(understanding, "emit", emit)
    result = export(source)
    assert result.passed
    assert result.rewrites.withdrawn == ()
    assert {refusal.reason for refusal in result.rewrites.refusals} == {f"{BROKE_DOWN} (AttributeError: a defect)"}
