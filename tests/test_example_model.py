"""The example model: the paper's size, sane activations, legal input sizes, and an export without scatters."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import onnx_ir as ir
import onnxruntime
import pytest
import torch

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
