"""TorchScript archives: replayed, exported, refused."""

import inspect
import linecache
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from s2deploy.errors import ArtifactError, SourceError, UntrustedPickleError
from s2deploy.model import load
from s2deploy.overlap import clone_semantics, find_overlaps, reference


def shift(x):
    _, h, w, c = x.size()
    x[:, 1:, :, : c // 4] = x[:, : h - 1, :, : c // 4]
    x[:, : h - 1, :, c // 4 : c // 2] = x[:, 1:, :, c // 4 : c // 2]
    x[:, :, 1:, c // 2 : c * 3 // 4] = x[:, :, : w - 1, c // 2 : c * 3 // 4]
    x[:, :, : w - 1, 3 * c // 4 :] = x[:, :, 1:, 3 * c // 4 :]
    return x


class Shifts(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(8, 16)
        self.out = nn.Linear(16, 4)

    def forward(self, x):
        b, c, h, w = x.size()
        y = shift(self.mix(x.permute(0, 2, 3, 1))[:, :, :, :c])
        y = torch.cat([y, y], 3).reshape(b, h * w, -1)
        return self.out(y).reshape(b, h, w, 4).permute(0, 3, 1, 2)


class ConvNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        x = self.drop(F.relu(self.norm(self.conv(x))))
        return F.interpolate(x, size=[x.size(2) * 2, x.size(3) * 2]), F.adaptive_avg_pool2d(x, 1).flatten(1)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.register_buffer("position", torch.randn(1, 32, 8))

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x + self.position[:, :n]).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1) * (c // 2) ** -0.5).softmax(-1)
        mask = torch.ones(n, n, dtype=torch.bool, device=x.device).tril()
        y = (weights.masked_fill(~mask, 0.0) @ v).transpose(1, 2).reshape(b, n, c)
        return {"y": y, "shape": y.float().mean(dim=(1, 2)) / n}


class Checked(nn.Module):
    """Branches that ranks, attributes and None decide, asserts about sizes, and an unrolled loop."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.deep = True

    def forward(self, x, scale: float = 2.0):
        assert x.dim() == 3
        if x.size(2) != 4:
            raise ValueError("four channels, please")
        if x.dim() > 2 and self.deep:
            x = x * scale
        for layer in self.layers:
            x = layer(x)
        total = torch.zeros_like(x)
        for i in range(2):
            total += x * i
        return total


def image(*size):
    return torch.randn(*size)


CASES = {
    "shifts": (Shifts, image(3, 8, 5, 7), {0: "b", 2: "h", 3: "w"}, image(4, 8, 6, 4)),
    "conv": (ConvNorm, image(4, 3, 6, 8), {0: "b", 2: "h", 3: "w"}, image(3, 3, 9, 5)),
    "attention": (Attention, image(4, 6, 8), {0: "b"}, image(5, 6, 8)),
    "checked": (Checked, image(5, 6, 4), {0: "b", 1: "n"}, image(3, 9, 4)),
}


def save(module, example, how, path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; archives of it are what is tested
        script = torch.jit.script(module) if how == "script" else torch.jit.trace(module, example, strict=False)
    script.save(str(path))
    return str(path)


def equal(outputs, expected):
    torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("how", ["trace", "script"])
@pytest.mark.parametrize("name", CASES)
def test_replay_equals_the_module_static_and_dynamic(name, how, tmp_path):
    factory, example, names, other = CASES[name]
    module = factory().eval()
    loaded = load(save(module, example, how, tmp_path / "m.pt"))
    replayed = loaded.module
    assert loaded.kind == "torchscript"
    assert not replayed.training
    assert not any(p.requires_grad for p in replayed.parameters())
    equal(reference(replayed, (example,)), reference(module, (example,)))
    for sizes in (None, ({i: torch.export.Dim(n, min=3, max=16) for i, n in names.items()},)):
        program = torch.export.export(replayed, (example,), dynamic_shapes=sizes)
        at = example if sizes is None else other
        with clone_semantics(), torch.no_grad():
            equal(program.module()(at), reference(module, (at,)))


@pytest.mark.parametrize("how", ["trace", "script"])
def test_replay_keeps_names_signature_and_lines(how, tmp_path):
    module, example = Shifts().eval(), CASES["shifts"][1]
    replayed = load(save(module, example, how, tmp_path / "m.pt")).module
    assert dict(replayed.named_parameters()).keys() == dict(module.named_parameters()).keys()
    assert list(inspect.signature(replayed.forward).parameters) == ["x"]
    assert type(replayed).__name__ == "Shifts"
    first = shift.__code__.co_firstlineno + 2
    found = find_overlaps(replayed, (example,))
    assert [(o.file, o.line) for o in found] == [(__file__, first + i) for i in range(4)]
    assert found[0].source == "x[:, 1:, :, : c // 4] = x[:, : h - 1, :, : c // 4]"
    assert found == find_overlaps(torch.export.export(replayed, (example,)).module(), (example,))


def test_lines_of_a_file_that_is_elsewhere_come_from_the_archive(tmp_path):
    source = tmp_path / "gone.py"
    source.write_text(
        "import torch\nclass Gone(torch.nn.Module):\n    def forward(self, x):\n"
        "        x = x + 0\n        x[1:] = x[:-1]\n        return x\n"
    )
    module = load(f"{source}:Gone").module
    path = save(module, torch.randn(4), "script", tmp_path / "m.pt")
    source.unlink()
    linecache.clearcache()
    (overlap,) = find_overlaps(load(path).module, (torch.randn(4),))
    assert (overlap.line, overlap.source) == (5, "x[1:] = x[:-1]")


def test_mutable_buffers_stay_buffers(tmp_path):
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(3))

        def forward(self, x):
            self.seen.add_(x)
            return self.seen * 2

    replayed = load(save(Counter(), torch.ones(3), "script", tmp_path / "m.pt")).module
    assert [reference(replayed, (torch.ones(3),)).tolist() for _ in range(2)] == [[2, 2, 2]] * 2
    assert dict(replayed.named_buffers())["seen"].tolist() == [0, 0, 0]


class DataBranch(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            x = x + 1
        return x


class SizeBranch(nn.Module):
    def forward(self, x):
        if x.size(0) > 3:
            x = x + 1
        return x


class SizeLoop(nn.Module):
    def forward(self, x):
        for i in range(x.size(0)):
            x = x + i
        return x


@pytest.mark.parametrize(
    ("factory", "operator", "why"),
    [
        (DataBranch, "prim::If", "branches on a tensor's values"),
        (SizeBranch, "prim::If", "branches on a size"),
        (SizeLoop, "prim::Loop", "control flow"),
    ],
)
def test_control_flow_is_refused_by_name_and_line(factory, operator, why, tmp_path):
    path = save(factory(), torch.randn(4), "script", tmp_path / "m.pt")
    line = inspect.getsourcelines(factory.forward)[1] + 1
    with pytest.raises(SourceError) as refusal:
        load(path)
    assert operator in refusal.value.message
    assert why in refusal.value.message
    assert f"{Path(__file__)}:{line}" in refusal.value.message


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's own, about quantized tensors
def test_objects_are_refused(tmp_path):
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.packed = torch.ops.quantized.linear_prepack(
                torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8), None
            )

        def forward(self, x):
            return torch.ops.quantized.linear_dynamic(x, self.packed)

    with pytest.raises(SourceError, match=r"quantized::linear_dynamic.*TorchScript object"):
        load(save(Holder(), torch.ones(1, 2), "script", tmp_path / "m.pt"))


def test_a_failed_check_raises_as_the_model_did(tmp_path):
    replayed = load(save(Checked().eval(), torch.randn(2, 6, 4), "script", tmp_path / "m.pt")).module
    with pytest.raises(RuntimeError, match="four channels, please"):
        replayed(torch.randn(2, 6, 5))


def test_truncated_archive(tmp_path):
    path = tmp_path / "m.pt"
    save(ConvNorm().eval(), CASES["conv"][1], "trace", path)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ArtifactError, match="damaged"):
        load(str(path))


def test_damaged_member(tmp_path):
    path, damaged = tmp_path / "m.pt", tmp_path / "d.pt"
    save(ConvNorm().eval(), CASES["conv"][1], "trace", path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(damaged, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"junk" if name.endswith("data.pkl") else old.read(name))
    with pytest.raises(ArtifactError, match="not a readable TorchScript archive"):
        load(str(damaged))


def test_code_that_runs_while_reading_needs_trust(tmp_path):
    path = tmp_path / "m.pt"
    save(StateSetter(), torch.ones(2), "script", path)
    with pytest.raises(UntrustedPickleError, match="__setstate__"):
        load(str(path))
    assert load(str(path), trust_pickle=True).kind == "torchscript"


class StateSetter(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = torch.ones(2)

    @torch.jit.export
    def __getstate__(self):
        return self.factor, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]):
        self.factor = state[0]
        self.training = state[1]

    def forward(self, x):
        return x * self.factor
