"""The example model: the paper's size, sane activations, legal input sizes, and an export without scatters."""

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import onnx_ir as ir
import onnxruntime
import pytest
import torch

import s2deploy
from s2deploy.exporter import capture, to_onnx
from s2deploy.feeds import interesting_sizes, random_feed
from s2deploy.overlap import reference
from s2deploy.specs import parse_inputs

EXAMPLE = Path(__file__).parents[1] / "examples" / "s2mlpv2.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("s2mlpv2_under_test", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_small_7_has_the_papers_parameters(example: ModuleType) -> None:
    parameters = sum(parameter.numel() for parameter in example.s2mlpv2_small_7().parameters())
    assert parameters == pytest.approx(25_000_000, rel=0.01)


def test_weights_depend_on_the_seed_alone(example: ModuleType) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second, other = (example.s2mlpv2_tiny(seed=seed).head.weight for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_shifts_move_each_group_one_step(example: ModuleType) -> None:
    class Shifts(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return example.spatial_shift(x * 1), example.transposed_spatial_shift(x * 1)

    x = torch.arange(3 * 5 * 4.0).reshape(1, 3, 5, 4)
    straight, transposed = reference(Shifts(), [x])
    moves = (1, 0), (-1, 0), (0, 1), (0, -1)
    for group, (down, right) in enumerate(moves):
        rows, columns = torch.arange(3) - down, torch.arange(5) - right
        expected = x[:, rows.clamp(0, 2)][:, :, columns.clamp(0, 4), group]
        assert torch.equal(straight[..., group], expected)
        rows, columns = torch.arange(3) - right, torch.arange(5) - down
        expected = x[:, rows.clamp(0, 2)][:, :, columns.clamp(0, 4), group]
        assert torch.equal(transposed[..., group], expected)


def test_activations_are_sane(example: ModuleType) -> None:
    spreads: list[float] = []
    model = example.s2mlpv2_tiny().eval()
    for module in model.modules():
        if isinstance(module, example.S2Block):
            module.register_forward_hook(lambda _module, _inputs, output: spreads.append(float(output.std())))
    logits = reference(model, [torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))])
    assert all(0.1 < spread < 10 for spread in [*spreads, float(logits.std())])
    assert len(spreads) == 2


def test_every_block_is_two_operators_of_the_plugins(example: ModuleType, tmp_path: Path) -> None:
    model = example.s2mlpv2_tiny().eval()
    runs, graphs = [], []
    for plugin in (False, True):
        path = tmp_path / f"{plugin}.onnx"
        s2deploy.export(model, path, inputs=["images:2,3,56,42"], plugin=plugin, validate=False)
        graphs.append(Counter(node.op_type.removesuffix("_2") for node in ir.load(path).graph))
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        images = torch.randn(2, 3, 56, 42, generator=torch.Generator().manual_seed(0)).numpy()
        runs.append(session.run(None, {"images": images})[0])
    assert abs(runs[0] - runs[1]).max() <= 1e-5 * abs(runs[0]).max()
    assert (graphs[1]["ShiftSum"], graphs[1]["ShiftSumPool"]) == (2, 2)
    assert not {"Slice", "Concat", "Pad"} & set(graphs[1])
    assert {"Slice", "Concat", "Pad"} & set(graphs[0])


def test_the_attention_is_at_most_16_nodes(example: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    torch.manual_seed(0)
    attention = example.S2Attention(16).eval()
    s2deploy.export(attention, path, inputs=["x:2,5,6,16"], plugin=True, validate=False)
    assert sum(node.op_type != "Constant" for node in ir.load(path).graph) <= 16


def test_the_tiny_model_exports_for_every_legal_size(example: ModuleType) -> None:
    model = example.s2mlpv2_tiny().eval()
    specs = parse_inputs(["images:batch=1..2..4,3,height=42..56..84/14,70"])
    exported = to_onnx(capture(model, specs).program, specs)
    assert not any("Scatter" in node.op_type for node in exported.graph)
    assert [str(value.name) for value in exported.graph.outputs] == ["output"]
    session = onnxruntime.InferenceSession(
        ir.to_proto(exported).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for sizes in interesting_sizes(specs).values():
        feed = random_feed(specs, sizes)
        expected = reference(model, [torch.from_numpy(feed["images"])]).numpy()
        assert abs(session.run(None, feed)[0] - expected).max() <= 1e-5
