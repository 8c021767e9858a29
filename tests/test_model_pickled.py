"""Pickled modules and files that are something else."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from s2deploy.errors import ArtifactError, SourceError, UntrustedPickleError, UsageError
from s2deploy.model import load


@pytest.fixture
def pickled(tmp_path):
    """A module of a class in a file beside the pickle, which this process has not imported."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "pickled_net.py").write_text("from torch import nn\nclass Net(nn.Linear):\n    pass\n")
    path = folder / "net.pt"
    sys.path.insert(0, str(folder))
    import pickled_net

    torch.save(pickled_net.Net(3, 2), path)
    torch.save({"model": pickled_net.Net(3, 2), "epoch": 1}, folder / "checkpoint.pt")
    torch.save(pickled_net.Net(3, 2), folder / "legacy.pt", _use_new_zipfile_serialization=False)
    sys.path.remove(str(folder))
    del sys.modules["pickled_net"]
    before = list(sys.path)
    yield path
    sys.path[:] = before
    sys.modules.pop("pickled_net", None)


@pytest.mark.parametrize("name", ["net.pt", "checkpoint.pt", "legacy.pt"])
def test_refused_without_trust_and_loaded_with_it(pickled, name):
    path = pickled.with_name(name)
    with pytest.raises(UntrustedPickleError, match="would run code") as refusal:
        load(str(path))
    for way in ("--weights", "torch.export.save", "torch.jit.save", "--trust-pickle"):
        assert way in refusal.value.hint
    assert "pickled_net" not in sys.modules
    loaded = load(str(path), trust_pickle=True)
    assert loaded.kind == "pickle"
    assert not loaded.module.training
    assert loaded.module(torch.ones(1, 3)).shape == (1, 2)


class Bomb(nn.Module):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("legacy", [False, True])
def test_malicious_pickle_does_not_run(tmp_path, legacy):
    path, sentinel = tmp_path / "m.pt", tmp_path / "it_ran"
    torch.save(Bomb(sentinel), path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UntrustedPickleError):
        load(str(path))
    assert not sentinel.exists()


def test_missing_module_and_class_are_named(pickled):
    source = pickled.with_name("pickled_net.py")
    source.write_text("")
    with pytest.raises(SourceError, match="Net"):
        load(str(pickled), trust_pickle=True)
    sys.modules.pop("pickled_net", None)
    source.unlink()
    with pytest.raises(SourceError, match="'pickled_net'"):
        load(str(pickled), trust_pickle=True)


@pytest.mark.parametrize("stored", [{"a.weight": torch.ones(2)}, {"state_dict": {"a": torch.ones(2)}, "epoch": 1}])
def test_state_dict_given_as_model(tmp_path, stored):
    path = tmp_path / "w.pt"
    torch.save(stored, path)
    with pytest.raises(UsageError, match="is a state_dict, not a model") as refusal:
        load(str(path))
    assert f"FACTORY --weights {path}" in refusal.value.hint


def test_safetensors_given_as_model(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"x")
    with pytest.raises(UsageError, match="weights, not a model"):
        load(str(path))


def test_tensor_given_as_model(tmp_path):
    path = tmp_path / "t.pt"
    torch.save(torch.ones(2), path)
    with pytest.raises(SourceError, match="a tensor"):
        load(str(path))


@pytest.mark.parametrize("name", ["m.pt", "m.pth", "m.pt2", "m.onnx", "m"])
def test_empty_file_and_lfs_pointer(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"")
    with pytest.raises(ArtifactError, match="is empty"):
        load(str(path))
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ArtifactError, match="Git LFS pointer"):
        load(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"just some text\n", "a text file"), (b"\x00\x01\x02\x03", "no file torch writes"), (b"PK\x05\x06", "damaged")],
)
def test_files_that_are_no_model(tmp_path, content, message):
    path = tmp_path / "m.pt"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        load(str(path))


def test_truncated_pickle(pickled):
    pickled.write_bytes(pickled.read_bytes()[:-150])
    with pytest.raises(ArtifactError, match="damaged"):
        load(str(pickled), trust_pickle=True)


def test_folder_given_as_model(tmp_path):
    with pytest.raises(UsageError, match="is a folder"):
        load(str(tmp_path))


@pytest.mark.parametrize("option", [{"kwargs": {"a": 1}}, {"weights": "w.pt"}])
def test_factory_options_do_not_go_with_files(tmp_path, option):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"anything")
    with pytest.raises(UsageError, match="goes with a factory"):
        load(str(path), **option)
