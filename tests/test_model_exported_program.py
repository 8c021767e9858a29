"""Exported programs: loaded, described, and never able to run code while being opened."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from s2deploy.errors import ArtifactError, SourceError, UntrustedPickleError
from s2deploy.model import load
from s2deploy.model.exported_program import input_specs, is_static, upper_bounds
from s2deploy.overlap import reference


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("bias", torch.ones(4))
        self.plain = torch.randn(4)

    def forward(self, x):
        x = self.linear(x) + self.bias * self.plain + torch.tensor([1.0, 2.0, 3.0, 4.0])
        x[:, 1:] = x[:, :-1]
        return x


@pytest.fixture
def program_file(tmp_path):
    """A real archive, dynamic in its batch."""
    program = torch.export.export(Small(), (torch.randn(3, 4),), dynamic_shapes=({0: torch.export.Dim("b", max=9)},))
    path = tmp_path / "model.pt2"
    torch.export.save(program, path, extra_files={"note": "__import__('os')"})
    return path


class OwnDict(dict):
    """Harmless, but nothing the restricted unpickler knows."""


class Bomb:
    """Touches a file when unpickled."""

    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return Path.touch, (self.sentinel,)


@pytest.fixture
def sentinel(tmp_path):
    path = tmp_path / "it_ran"
    yield path
    assert not path.exists(), "the payload ran"


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def rewritten(path: Path, changes, added=()):
    """Writes a copy in which members ending in a key are replaced by `changes[key](content)`."""
    target = path.with_name("planted.pt2")
    used = set()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        root = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            content = old.read(name)
            for key, change in changes.items():
                if name.endswith(key):
                    content = change(content)
                    used.add(key)
            new.writestr(name, content)
        for name, content in added:
            new.writestr(f"{root}/{name}", content)
    assert used == set(changes)
    return str(target)


def json_change(change):
    def apply(content):
        value = json.loads(content)
        change(value)
        return json.dumps(value).encode()

    return apply


def test_the_copies_these_tests_make_are_loadable(program_file):
    assert load(rewritten(program_file, {})).kind == "exported_program"


def test_dynamic_program(program_file):
    loaded = load(str(program_file))
    (spec,) = input_specs(loaded.program)
    (dim,) = spec.dynamic
    assert (spec.name, spec.dtype, spec.dims[1].opt) == ("x", "float32", 4)
    assert (dim.min, dim.opt, dim.max) == (1, 3, 9)
    assert upper_bounds(loaded.program) == {dim.name: 9}
    assert not is_static(loaded.program)
    assert reference(loaded.module, (torch.randn(5, 4),)).shape == (5, 4)


def test_static_program(tmp_path):
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(Small(), (torch.randn(3, 4),)), path)
    program = load(str(path)).program
    assert is_static(program)
    assert [str(spec) for spec in input_specs(program)] == ["x:3,4:float32"]


def test_unbounded_and_derived_sizes(tmp_path):
    class Two(nn.Module):
        def forward(self, x, y):
            return x[::2] + y

    half = torch.export.Dim("half", min=2)
    sizes = ({0: 2 * half}, {0: half})
    program = torch.export.export(Two(), (torch.randn(8, 3), torch.randn(4, 3)), dynamic_shapes=sizes)
    path = tmp_path / "model.pt2"
    torch.export.save(program, path)
    long, short = (spec.dims[0] for spec in input_specs(load(str(path)).program))
    assert (long.min, long.opt, long.max, long.multiple) == (4, 8, 8, 2)
    assert (short.min, short.opt, short.max) == (2, 4, 4)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's own, in run_decompositions
def test_guards_and_higher_order_operators_pass_the_vetting(tmp_path):
    class Guarded(nn.Module):
        def forward(self, x, more):
            if x.shape[1] > 4:
                x = x * 2
            y = torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x - 1, (x,))
            return {"y": y[:, : (x.shape[1] * 3) // 2], "z": (more["k"], x.shape[0] * 2)}

    auto = torch.export.Dim.AUTO
    program = torch.export.export(
        Guarded(), (torch.randn(2, 8), {"k": torch.ones(3)}), dynamic_shapes=({0: auto, 1: auto}, {"k": {0: auto}})
    )
    for name, variant in (("a.pt2", program), ("b.pt2", program.run_decompositions({}))):
        torch.export.save(variant, tmp_path / name)
        assert load(str(tmp_path / name)).kind == "exported_program"
    with pytest.raises(SourceError, match="nested inputs"):
        input_specs(program)


def test_non_tensor_input_is_refused():
    class Scaled(nn.Module):
        def forward(self, x, n):
            return x * n

    program = torch.export.export(Scaled(), (torch.ones(2), 3))
    with pytest.raises(SourceError, match="not a tensor"):
        input_specs(program)


@pytest.mark.parametrize("save", [saved, pickle.dumps])
def test_payload_in_sample_inputs(program_file, sentinel, save):
    path = rewritten(program_file, {"sample_inputs/model.pt": lambda _: save(((Bomb(sentinel),), {}))})
    with pytest.raises(UntrustedPickleError, match=r"sample_inputs/model\.pt") as refusal:
        load(path)
    assert "--trust-pickle" in refusal.value.hint


@pytest.mark.parametrize(("table", "payload"), [("model_weights", "weight_0"), ("model_constants", "tensor_0")])
def test_payload_in_weights_and_constants(program_file, sentinel, table, payload):
    def mark(value):
        for entry in value["config"].values():
            entry["use_pickle"] = entry["path_name"] == payload

    path = rewritten(
        program_file, {f"{table}_config.json": json_change(mark), f"/{payload}": lambda _: saved(Bomb(sentinel))}
    )
    with pytest.raises(UntrustedPickleError, match=payload):
        load(path)


@pytest.mark.parametrize("name", ["data/weights/model.pt", "data/constants/model.pt", "data/sample_inputs/other.pt"])
def test_payload_in_the_legacy_places(program_file, sentinel, name):
    with pytest.raises(UntrustedPickleError, match=name):
        load(rewritten(program_file, {}, [(name, saved({"linear.weight": Bomb(sentinel)}))]))


@pytest.mark.parametrize("prefix", ["opaque_obj_0", "custom_obj_0", "../../models/x", "weight_0"])
def test_constants_that_are_objects(program_file, sentinel, prefix):
    def add(value):
        value["config"]["planted"] = {"path_name": prefix, "is_param": False, "use_pickle": True, "tensor_meta": None}

    change = {"model_constants_config.json": json_change(add)}
    with pytest.raises(UntrustedPickleError):
        load(rewritten(program_file, change, [(f"data/constants/{prefix}", pickle.dumps(Bomb(sentinel)))]))


def test_second_model_is_vetted_too(program_file, sentinel):
    with zipfile.ZipFile(program_file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("models/model.json"))
        model = archive.read(name)
    added = [("models/b.json", model), ("data/sample_inputs/b.pt", saved(((Bomb(sentinel),), {})))]
    with pytest.raises(UntrustedPickleError, match=r"sample_inputs/b\.pt"):
        load(rewritten(program_file, {}, added))


def code(sentinel):
    return f"__import__('pathlib').Path({str(sentinel)!r}).touch()"


def plant_expression(value, text):
    value["graph_module"]["graph"]["sym_int_values"]["planted"] = {"as_expr": {"expr_str": text, "hint": None}}


@pytest.mark.parametrize(
    "plant",
    [
        plant_expression,
        lambda value, text: plant_expression(value, f"Max({text!r}, 1)"),
        lambda value, text: plant_expression(value, f"Symbol('x', positive={text})"),
        lambda value, text: value["guards_code"].append(text),
        lambda value, text: value["guards_code"].append(f"L['x'].size()[0] == {text}"),
        lambda value, text: value["graph_module"]["graph"]["nodes"][0].update(name=f"a): {text} #"),
        lambda value, text: value["graph_module"]["graph"]["nodes"][0].update(target="torch.os.system"),
        lambda value, text: value["graph_module"]["graph"]["nodes"][0].update(target="_operator.methodcaller"),
        lambda value, text: value["graph_module"]["graph"]["nodes"][0].update(target="torch.ops.aten.__class__"),
        lambda value, text: value["graph_module"]["module_call_graph"][0]["signature"].update(
            in_spec=json.dumps([1, {"type": "builtins.dict", "context": '[{"__enum__":1}]', "children_spec": []}])
        ),
        lambda value, text: value["graph_module"]["graph"]["inputs"].append(
            {"as_custom_obj": {"name": "o", "class_fqn": "c"}}
        ),
    ],
)
def test_code_in_the_json(program_file, sentinel, plant):
    path = rewritten(program_file, {"models/model.json": json_change(lambda value: plant(value, code(sentinel)))})
    with pytest.raises(UntrustedPickleError, match="could run code"):
        load(path)


def test_native_code(program_file):
    with pytest.raises(UntrustedPickleError, match="native code"):
        load(rewritten(program_file, {}, [("data/aotinductor/model/model.so", b"\x7fELF")]))


def test_old_layout_beside_the_new_one(program_file, sentinel):
    target = rewritten(program_file, {})
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr("version", "8.8")
        archive.writestr("serialized_exported_program.json", "{}")
        archive.writestr("serialized_state_dict.pt", saved({"a": Bomb(sentinel)}))
    with pytest.raises((UntrustedPickleError, ArtifactError)):
        load(target)


def test_new_layout_behind_the_marker_of_the_old_one(program_file, sentinel):
    target = rewritten(program_file, {"sample_inputs/model.pt": lambda _: saved(((Bomb(sentinel),), {}))})
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr("version", "8.8")
    with pytest.raises((UntrustedPickleError, ArtifactError)):
        load(target)


@pytest.mark.parametrize("config", [{}, {"config": []}, {"config": {"a": {}}}, {"config": {"a": {"path_name": 3}}}, []])
def test_tables_of_another_structure(program_file, config):
    change = {"model_weights_config.json": lambda _: json.dumps(config).encode()}
    with pytest.raises(ArtifactError, match="damaged"):
        load(rewritten(program_file, change))


@pytest.mark.parametrize("member", ["state_dict.pt", "constants.json", "example_inputs.pt"])
def test_payload_in_the_old_layout(tmp_path, sentinel, member):
    path = tmp_path / "old.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("version", "8.8")
        archive.writestr("serialized_exported_program.json", "{}")
        archive.writestr(f"serialized_{member}", saved({"a": Bomb(sentinel)}))
    with pytest.raises(UntrustedPickleError, match=member):
        load(str(path))


def test_member_that_leaves_the_archive(program_file):
    with pytest.raises(UntrustedPickleError, match="leads out"):
        load(rewritten(program_file, {}, [("../../evil", b"")]))


def test_trust_opens_what_the_vetting_refuses(program_file):
    sample = saved(((torch.randn(3, 4),), OwnDict()))
    path = rewritten(program_file, {"sample_inputs/model.pt": lambda _: sample})
    with pytest.raises(UntrustedPickleError):
        load(path)
    assert load(path, trust_pickle=True).kind == "exported_program"


def test_environment_is_as_before(program_file, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")
    load(str(program_file))
    assert os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "0"


def test_truncated(program_file):
    program_file.write_bytes(program_file.read_bytes()[:-200])
    with pytest.raises(ArtifactError) as refusal:
        load(str(program_file))
    assert "truncated" in refusal.value.hint


def test_other_schema_version(program_file):
    change = json_change(lambda value: value["schema_version"].update(major=99))
    with pytest.raises(ArtifactError, match="version"):
        load(rewritten(program_file, {"models/model.json": change}))


@pytest.mark.parametrize("content", [b"not a zip at all", b"\x80\x04junk"])
def test_no_archive(tmp_path, content):
    path = tmp_path / "model.pt2"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="no zip archive"):
        load(str(path))


def test_foreign_archive(tmp_path):
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(ArtifactError, match="not an exported program"):
        load(str(path))


def test_damaged_json(program_file):
    with pytest.raises(ArtifactError, match="no JSON"):
        load(rewritten(program_file, {"models/model.json": lambda _: b"{"}))
