"""State dicts: unwrapped, fitted strictly, and never a way to run code."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from s2deploy.errors import ArtifactError, UntrustedPickleError, UsageError, WeightsError
from s2deploy.model import load

SOURCE = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.head = nn.Linear(2, 2, bias=False)
        self.tied = nn.Linear(2, 2, bias=False)
        self.tied.weight = self.head.weight

    def forward(self, x):
        return self.tied(self.norm(self.model(x)))
"""


@pytest.fixture
def reference(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(SOURCE)
    return f"{path}:Net"


@pytest.fixture
def state(reference):
    state = load(reference).module.state_dict()
    return {name: torch.full_like(tensor, 3 + i) for i, (name, tensor) in enumerate(state.items())}


def prefixed(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


WRAPPINGS = {
    "plain": lambda s: s,
    "state_dict": lambda s: {"state_dict": s, "epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(())}}}},
    "model": lambda s: {"model": s, "best": 0.5, "name": "x"},
    "model_state_dict": lambda s: {"model_state_dict": s},
    "net": lambda s: {"net": s},
    "ema": lambda s: {"ema": prefixed(s, "module."), "updates": 9},
    "nested": lambda s: {"model": {"state_dict": prefixed(s, "module.")}},
    "parallel": lambda s: prefixed(s, "module."),
    "compiled": lambda s: prefixed(s, "_orig_mod."),
    "compiled parallel": lambda s: prefixed(s, "module._orig_mod."),
    "compiled part": lambda s: {n.replace("norm.", "norm._orig_mod."): t for n, t in s.items()},
    "lightning": lambda s: {"state_dict": prefixed(s, "model."), "lr": 0.1},
    "averaged": lambda s: {"n_averaged": torch.ones(()), **prefixed(s, "module.")},
    "older norm": lambda s: {n: t for n, t in s.items() if "num_batches" not in n},
    "half": lambda s: {n: t.half() if t.is_floating_point() else t for n, t in s.items()},
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_wrappers_and_prefixes(reference, state, wrapping, legacy, tmp_path):
    path = tmp_path / "w.pt"
    torch.save(WRAPPINGS[wrapping](state), path, _use_new_zipfile_serialization=not legacy)
    loaded = load(reference, weights=path)
    for name, tensor in loaded.module.state_dict().items():
        if wrapping != "older norm" or "num_batches" not in name:
            # tied weights: both names hold what the later one stored
            expected = state["tied.weight"] if name == "head.weight" else state[name]
            assert torch.equal(tensor, expected), name
    assert loaded.provenance.weights == path
    assert len(loaded.provenance.weights_sha256) == 64
    assert not loaded.module.model.weight.requires_grad


def test_safetensors_without_the_tied_duplicate(reference, state, tmp_path):
    path = tmp_path / "w.safetensors"
    del state["tied.weight"]
    safetensors.torch.save_file(state, path)
    module = load(reference, weights=str(path)).module
    assert torch.equal(module.tied.weight, state["head.weight"])


def test_what_does_not_fit_is_told(reference, state, tmp_path):
    path = tmp_path / "w.pt"
    state["norm.scale"] = state.pop("norm.weight")
    state["model.weight"] = torch.zeros(5, 3)
    torch.save(state, path)
    with pytest.raises(WeightsError) as refusal:
        load(reference, weights=path)
    message = refusal.value.message
    assert "1 missing (norm.weight" in message
    assert "nearest norm.scale" in message
    assert "1 unexpected (norm.scale)" in message
    assert "model.weight is (5, 3), the model wants (2, 3)" in message


def test_long_lists_are_cut(reference, tmp_path):
    path = tmp_path / "w.pt"
    torch.save({f"layer{i}.weight": torch.zeros(1) for i in range(40)}, path)
    with pytest.raises(WeightsError, match=r"40 unexpected .* and 35 more"):
        load(reference, weights=path)


@pytest.mark.parametrize("stored", [{}, {"epoch": 3}, [1, 2], torch.ones(3)])
def test_no_tensors_by_name(reference, stored, tmp_path):
    path = tmp_path / "w.pt"
    torch.save(stored, path)
    with pytest.raises(WeightsError, match="holds no tensors by name"):
        load(reference, weights=path)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("legacy", [False, True])
def test_malicious_weights_do_not_run(reference, state, tmp_path, legacy):
    path, sentinel = tmp_path / "w.pt", tmp_path / "it_ran"
    torch.save({"state_dict": state, "extra": Bomb(sentinel)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UntrustedPickleError) as refusal:
        load(reference, weights=path)
    assert "--trust-pickle" in refusal.value.hint
    assert not sentinel.exists()


def test_trusted_weights_may_hold_anything(reference, state, tmp_path):
    path = tmp_path / "w.pt"
    torch.save({"state_dict": state, "args": argparse.Namespace(lr=1)}, path)
    with pytest.raises(UntrustedPickleError, match=r"argparse\.Namespace"):
        load(reference, weights=path)
    assert torch.equal(load(reference, weights=path, trust_pickle=True).module.norm.bias, state["norm.bias"])


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", ArtifactError, "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", ArtifactError, "Git LFS pointer"),
        (b"<html>not found</html>", ArtifactError, "is a text file"),
        (b"PK\x03\x04 cut off", ArtifactError, "damaged"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", ArtifactError, "damaged"),
    ],
)
def test_damaged_weights(reference, tmp_path, content, error, message):
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    with pytest.raises(error, match=message):
        load(reference, weights=path)


def test_damaged_safetensors(reference, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"\xff" * 40)
    with pytest.raises(ArtifactError, match="safetensors"):
        load(reference, weights=path)


def test_truncated_weights(reference, state, tmp_path):
    path = tmp_path / "w.pt"
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="damaged"):
        load(reference, weights=path)


def test_missing_weights(reference, tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        load(reference, weights=tmp_path / "no.pt")


def test_weights_that_are_a_model(reference, tmp_path):
    path = tmp_path / "w.pt2"
    torch.export.save(torch.export.export(nn.Identity(), (torch.ones(1),)), path)
    with pytest.raises(UsageError, match="whole model"):
        load(reference, weights=path)


def test_onnx_needs_no_torch(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"anything")
    code = (
        "import sys; from s2deploy.model import load; "
        f"loaded = load({str(path)!r}); assert loaded.kind == 'onnx' and loaded.module is None; "
        "assert loaded.onnx_path is not None; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
