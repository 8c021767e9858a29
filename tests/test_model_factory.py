"""Factories: found, called, and their failures told in the user's own lines."""

import sys
from pathlib import Path

import pytest
import torch

from s2deploy.errors import ArtifactError, FactoryError, UsageError
from s2deploy.model import load

SOURCE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=3, *, bias=True):
        super().__init__()
        self.linear = nn.Linear(width, 2, bias=bias)
        self.drop = nn.Dropout()

    def forward(self, x):
        return self.drop(self.linear(x))


def make(**options):
    return Net(**options)


class Registry:
    small = staticmethod(lambda: Net(2))


built = Net(5)
wrapped = nn.DataParallel(Net())


def needs(width):
    return Net(width)


def broken():
    net = Net()
    raise ValueError("no such variant")


def wrong():
    return {"net": Net()}


def leaves():
    raise SystemExit(3)


number = 7
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture(autouse=True)
def import_state():
    before, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = before
    for name in set(sys.modules) - modules:
        if not name.startswith("torch"):
            del sys.modules[name]


@pytest.mark.parametrize("name", ["Net", "make", "Registry.small", "built", "wrapped"])
def test_what_can_be_a_factory(source, name):
    loaded = load(f"{source}:{name}")
    assert loaded.kind == "factory"
    assert type(loaded.module).__name__ == "Net"
    assert not any(part.training for part in loaded.module.modules())
    assert not any(p.requires_grad for p in loaded.module.parameters())
    assert loaded.provenance.source == source
    assert len(loaded.provenance.source_sha256) == 64


def test_seeded_and_repeatable(source):
    first, second = load(f"{source}:Net").module, load(f"{source}:Net").module
    assert torch.equal(first.linear.weight, second.linear.weight)


def test_kwargs_reach_the_factory_and_the_provenance(source):
    loaded = load(f"{source}:make", kwargs={"width": 7, "bias": False})
    assert loaded.module.linear.weight.shape == (2, 7)
    assert loaded.module.linear.bias is None
    assert loaded.provenance.kwargs == {"width": 7, "bias": False}


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("Net", {"widht": 3, "bias": True}, "does not take 'widht'"),
        ("needs", {}, "needs 'width'"),
        ("needs", {"height": 1}, "does not take 'height' and needs 'width'"),
        ("built", {"width": 1}, "takes no keyword arguments"),
    ],
)
def test_kwargs_that_do_not_fit(source, name, kwargs, message):
    with pytest.raises(UsageError, match=message):
        load(f"{source}:{name}", kwargs=kwargs)


def test_missing_factory_lists_the_candidates(source):
    with pytest.raises(FactoryError, match="has no 'Nett'") as refusal:
        load(f"{source}:Nett")
    for name in ("Net", "make", "needs"):
        assert name in refusal.value.hint
    assert "Registry" not in refusal.value.hint


def test_raising_factory_names_the_line(source):
    line = SOURCE.splitlines().index('    raise ValueError("no such variant")') + 1
    with pytest.raises(FactoryError, match="ValueError: no such variant") as refusal:
        load(f"{source}:broken")
    assert f"{source}:{line}" in refusal.value.message
    assert isinstance(refusal.value.__cause__, ValueError)


def test_error_inside_torch_names_the_users_line(source):
    with pytest.raises(FactoryError) as refusal:
        load(f"{source}:Net", kwargs={"width": "three"})
    assert f"{source}:9" in refusal.value.message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wrong", "returned dict, not a torch.nn.Module"),
        ("leaves", "sys.exit"),
        ("number", "cannot be called"),
    ],
)
def test_factories_that_give_no_module(source, name, message):
    with pytest.raises(FactoryError, match=message):
        load(f"{source}:{name}")


def test_file_that_cannot_be_imported(tmp_path):
    cases = {
        "syntax.py": ("x = 1\ndef broken(:\n", r"SyntaxError.*syntax\.py:2"),
        "missing.py": ("import torch\nimport no_such_package_here\n", r"No module named.*missing\.py:2"),
        "exits.py": ("import sys\nsys.exit(1)\n", r"sys\.exit\(1\).*exits\.py:2"),
        "raises.py": ("x = 1\n1 / 0\n", r"ZeroDivisionError.*raises\.py:2"),
        "binary.py": ("\0", "could not be imported"),
    }
    for name, (text, message) in cases.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(FactoryError, match=message):
            load(f"{tmp_path / name}:Net")


def test_missing_package_is_named_in_the_hint(tmp_path):
    (tmp_path / "m.py").write_text("import no_such_package_here\n")
    with pytest.raises(FactoryError) as refusal:
        load(f"{tmp_path / 'm.py'}:Net")
    assert "install the package that provides 'no_such_package_here'" in refusal.value.hint


def test_siblings_and_lazy_imports(tmp_path):
    (tmp_path / "sibling.py").write_text("from torch import nn\nLayer = nn.Identity\n")
    (tmp_path / "late.py").write_text("factor = 3\n")
    (tmp_path / "m.py").write_text(
        "import sibling\nclass Net(sibling.Layer):\n"
        "    def forward(self, x):\n        from late import factor\n        return x * factor\n"
    )
    assert load(f"{tmp_path / 'm.py'}:Net").module(torch.ones(1)).item() == 3
    assert sys.path[0] != str(tmp_path)


def test_two_folders_with_equally_named_files(tmp_path):
    for name, factor in (("a", 2), ("b", 5)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "layers.py").write_text(f"factor = {factor}\n")
        (folder / "m.py").write_text(
            "import layers\nfrom torch import nn\nclass Net(nn.Module):\n"
            "    def forward(self, x):\n        return x * layers.factor\n"
        )
    a, b = (load(f"{tmp_path / name / 'm.py'}:Net").module for name in ("a", "b"))
    assert (a(torch.ones(1)).item(), b(torch.ones(1)).item()) == (2, 5)


def test_file_inside_a_package_with_relative_imports(tmp_path):
    inner = tmp_path / "zoo_pkg" / "nets"
    inner.mkdir(parents=True)
    for folder in (inner.parent, inner):
        (folder / "__init__.py").write_text("")
    (inner.parent / "layers.py").write_text("from torch import nn\nLayer = nn.Identity\n")
    (inner / "net.py").write_text("from ..layers import Layer\nclass Net(Layer):\n    pass\n")
    assert type(load(f"{inner / 'net.py'}:Net").module).__module__ == "zoo_pkg.nets.net"


def test_dotted_module_from_the_working_folder(tmp_path, monkeypatch):
    package = tmp_path / "here_pkg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nets.py").write_text("from torch import nn\nclass Net(nn.Identity):\n    pass\n")
    monkeypatch.chdir(tmp_path)
    assert load("here_pkg.nets:Net").provenance.source == package / "nets.py"
    assert load("torch.nn:Identity").kind == "factory"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("no_such_pkg.mod:Net", "no module 'no_such_pkg'"),
        ("no-such/file:Net", "neither a .py file nor a dotted module"),
        ("missing.py:Net", "no such file"),
        ("missing.pt", "no such file"),
    ],
)
def test_references_to_nothing(reference, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        load(reference)


def test_file_without_a_factory_name(source):
    with pytest.raises(UsageError, match="names no factory"):
        load(str(source))


def test_source_that_shares_the_name_of_a_package(tmp_path):
    path = tmp_path / "json.py"
    path.write_text("from torch import nn\nNet = nn.Identity\n")
    import json

    load(f"{path}:Net")
    assert sys.modules["json"] is json
    assert Path(json.__file__).parent.name == "json"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit itself is deprecated
def test_script_module_from_a_factory_is_replayed(tmp_path):
    path = tmp_path / "scripted.py"
    path.write_text(SOURCE + "\n\ndef scripted():\n    return torch.jit.script(Net())\n")
    module = load(f"{path}:scripted").module
    assert not isinstance(module, torch.jit.ScriptModule)
    assert module(torch.ones(1, 3)).shape == (1, 2)


def test_empty_source(tmp_path):
    (tmp_path / "m.py").write_text("")
    with pytest.raises(ArtifactError, match="is empty"):
        load(f"{tmp_path / 'm.py'}:Net")
