"""Operators of the plugins in builds: kept as nodes of every precision, found by parsers, computed by a library."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from engine_builds import carry_out, options, request

from s2deploy import ops
from s2deploy.engine import kernels
from s2deploy.engine.families import family_of
from s2deploy.engine.kernels import KernelLibrary, find_library, is_kernel_library, places, read_library
from s2deploy.engine.plugin_nodes import as_plugins
from s2deploy.engine.targets import Toolchain
from s2deploy.engine.typed import Typed, typed_for
from s2deploy.errors import UsageError
from s2deploy.ops import Configuration, Shift
from s2deploy.precision.functions import have_functions, inline, operators, written_out_of
from s2deploy.precision.wide import stays_wide
from s2deploy.rewrite.plugin_functions import operator_node
from s2deploy.specs import Precision, Target

SHIFTS = (Shift(0, 2, -1, 0), Shift(2, 3, 2, -1), Shift(4, 6, 0, 3))
NARROW = {Precision.FP16: ir.DataType.FLOAT16, Precision.BF16: ir.DataType.BFLOAT16}
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler on PATH")


def attention(batch: int | str = 2) -> ir.Model:
    """Returns split attention over two branches of ``batch x 4 x 5 x 8`` by the three operators and a product."""
    shape = [batch, 4, 5, 8]
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape))
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": 20}, name="attention")
    model = ir.Model(graph, ir_version=10)

    def add(node: ir.Node, dims: list[int | str]) -> ir.Value:
        node.name = f"{node.op_type.lower()}_{len(graph)}"
        graph.append(node)
        node.outputs[0].name, node.outputs[0].shape = f"{node.name}_out", ir.Shape(dims)
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        return node.outputs[0]

    def weight(name: str, array: np.ndarray) -> ir.Value:
        value = ir.val(name, const_value=ir.tensor(array, name=name))
        graph.register_initializer(value)
        return value

    rng = np.random.default_rng(0)
    two = Configuration(SHIFTS, channels_last=True, branches=2)
    wide = add(ir.node("MatMul", [x, weight("v", rng.standard_normal((8, 12)).astype(np.float32))]), [batch, 4, 5, 12])
    wide = add(operator_node(model, ops.SPATIAL_SHIFT, Configuration(SHIFTS, True), 12, [wide]), [batch, 4, 5, 12])
    pooled = add(operator_node(model, ops.SHIFT_SUM_POOL, two, 6, [wide]), [batch, 6])
    scores = add(ir.node("MatMul", [pooled, weight("u", rng.standard_normal((6, 12)).astype(np.float32))]), [batch, 12])
    views = add(ir.node("Reshape", [scores, weight("s", np.array([-1, 2, 6]))]), [batch, 2, 6])
    weights = add(ir.node("Softmax", [views], {"axis": 1}), [batch, 2, 6])
    y = add(operator_node(model, ops.SHIFT_SUM, two, 6, [wide, weights]), [batch, 4, 5, 6])
    graph.outputs.append(y)
    onnx.checker.check_model(ir.to_proto(model))
    return model


def saved(path: Path, batch: int | str = 2) -> Path:
    ir.save(attention(batch), path)
    return path


def written_out(model: ir.Model) -> ir.Model:
    copy = model.clone()
    assert inline(copy)
    return copy


def built(precision: Precision, version: str = "10.16", folder: Path | None = None, **others: object) -> Typed:
    given = options(precision, **({"calibration": feed_in(folder)} if folder else {}), **others).typing
    return typed_for(attention(), family_of(Target.TENSORRT, version), given, kernels=True)


def feed_in(folder: Path) -> Path:
    path = folder / "feed.npz"
    np.savez(path, x=np.random.default_rng(1).standard_normal((2, 4, 5, 8)).astype(np.float32))
    return path


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_operators_compute_in_16_bits_and_the_pooled_sum_comes_out_in_float32(precision: Precision) -> None:
    typed = built(precision)
    nodes = {node.op_type: node for node in typed.model.graph}
    narrow = NARROW[precision]
    for name in ("SpatialShift", "ShiftSum"):
        values = [*nodes[name].inputs, *nodes[name].outputs]
        assert {value.dtype for value in values} == {narrow}, name
    pool = nodes["ShiftSumPool"]
    assert (pool.inputs[0].dtype, pool.outputs[0].dtype) == (narrow, ir.DataType.FLOAT)
    (cast,) = [use.node for use in pool.outputs[0].uses()]
    assert (cast.op_type, cast.outputs[0].dtype) == ("Cast", narrow)
    assert not typed.model.functions
    assert typed.cost is not None
    assert typed.cost.outputs[0].cosine > 0.999
    assert typed.remarks == ()


@pytest.mark.parametrize("fp16_io", [False, True])
def test_a_pooled_sum_may_be_an_output(fp16_io: bool) -> None:
    model = attention()
    (pool,) = (node for node in model.graph if node.op_type == "ShiftSumPool")
    model.graph.outputs.append(pool.outputs[0])
    names = [value.name for value in model.graph.outputs]
    given = options(Precision.FP16, fp16_io=fp16_io).typing
    typed = typed_for(model, family_of(Target.TENSORRT, "10.16"), given, kernels=True)
    assert [value.name for value in typed.model.graph.outputs] == names
    outside = ir.DataType.FLOAT16 if fp16_io else ir.DataType.FLOAT
    assert [value.dtype for value in typed.model.graph.outputs] == [outside, outside]
    (pool,) = (node for node in typed.model.graph if node.op_type == "ShiftSumPool")
    assert pool.outputs[0].dtype == ir.DataType.FLOAT
    assert typed.cost is not None
    assert typed.cost.outputs[1].cosine > 0.999


def test_what_a_precision_costs_is_that_of_the_functions() -> None:
    given = options(Precision.FP16).typing
    family = family_of(Target.TENSORRT, "10.16")
    plain = typed_for(attention(), family, given)
    assert not operators(plain.model)
    with_kernels = built(Precision.FP16)
    assert plain.cost is not None
    assert with_kernels.cost is not None
    # kernels round once, the functions after every step
    assert with_kernels.cost.outputs[0].worst <= plain.cost.outputs[0].worst * 1.5
    assert with_kernels.cost.outputs[0].worst > 0


def test_operators_that_are_kept_in_float32_have_casts_around() -> None:
    typed = built(Precision.FP16, keep_fp32=("ShiftSumPool", "ShiftSum"))
    kinds = {node.op_type: {value.dtype for value in node.inputs} for node in typed.model.graph}
    assert kinds["ShiftSum"] == kinds["ShiftSumPool"] == {ir.DataType.FLOAT}
    assert kinds["SpatialShift"] == {ir.DataType.FLOAT16}
    assert "ShiftSumPool" in {node.op_type for node in typed.model.graph}


def test_an_operator_is_kept_under_its_name_whatever_number_its_function_has() -> None:
    model = attention()
    (y,) = model.graph.outputs
    further = operator_node(model, ops.SPATIAL_SHIFT, Configuration(SHIFTS[:1], channels_last=True), 6, [y])
    further.name, further.outputs[0].name = "further", "z"
    further.outputs[0].type, further.outputs[0].shape = y.type, y.shape
    model.graph.append(further)
    model.graph.outputs[0] = further.outputs[0]
    assert further.op_type == "SpatialShift_2"
    given = options(Precision.FP16, keep_fp32=("SpatialShift",)).typing
    typed = typed_for(model, family_of(Target.TENSORRT, "10.16"), given, kernels=True)
    shifts = [node for node in typed.model.graph if node.op_type.startswith("SpatialShift")]
    assert [node.inputs[0].dtype for node in shifts] == [ir.DataType.FLOAT] * 2


def origins(model: ir.Model) -> dict[str, set[str]]:
    """Returns the names of the nodes that each operator's function was written out to."""
    found: dict[str, set[str]] = {}
    for node in model.graph:
        origin = written_out_of(node)
        if origin is not None:
            found.setdefault(origin.operator, set()).add(str(node.name))
    return found


@pytest.mark.parametrize("asked", ["ShiftSumPool", "shiftsumpool_2"])
def test_an_operator_that_is_written_out_is_kept_under_its_names(asked: str) -> None:
    given = options(Precision.FP16, keep_fp32=(asked,)).typing
    typed = typed_for(attention(), family_of(Target.TENSORRT, "10.16"), given)
    kept = origins(typed.model)
    assert kept.keys() == {"SpatialShift", "ShiftSumPool", "ShiftSum"}
    narrow = {node.name for node in typed.model.graph if node.outputs[0].dtype == ir.DataType.FLOAT16}
    assert not kept["ShiftSumPool"] & narrow
    assert kept["SpatialShift"] <= narrow
    assert kept["ShiftSum"] & narrow
    (held,) = (wide for wide in stays_wide(typed.model, Precision.FP16, (asked,)) if "--keep-fp32" in wide.reason)
    assert held.operators["ReduceSum"] == 1
    flagged = typed_for(attention(), family_of(Target.TENSORRT, "8.5"), given)
    assert set(flagged.kept) == origins(flagged.model)["ShiftSumPool"]


@pytest.mark.parametrize("by_type", [False, True])
def test_an_operator_is_kept_for_what_is_meant_inside_its_function(by_type: bool) -> None:
    (product,) = (node for node in written_out(attention()).graph if node.op_type == "ReduceSum")
    typed = built(Precision.FP16, keep_fp32=("ReduceSum" if by_type else str(product.name),))
    kinds = {node.op_type: node.inputs[0].dtype for node in typed.model.graph}
    assert kinds["ShiftSumPool"] == ir.DataType.FLOAT
    assert kinds["ShiftSum"] == kinds["SpatialShift"] == ir.DataType.FLOAT16


@pytest.mark.parametrize("with_kernels", [False, True])
def test_what_neither_form_knows_is_refused_by_both(with_kernels: bool) -> None:
    given = options(Precision.FP16, keep_fp32=("ShiftSumPol",)).typing
    with pytest.raises(UsageError, match="has neither a node nor an operator type") as caught:
        typed_for(attention(), family_of(Target.TENSORRT, "10.16"), given, kernels=with_kernels)
    assert "'ShiftSumPool'" in str(caught.value.hint)


def test_around_int8_operators_stay_float32(tmp_path: Path) -> None:
    typed = built(Precision.INT8, folder=tmp_path)
    nodes = list(typed.model.graph)
    assert {value.dtype for node in nodes if node.domain for value in node.inputs} == {ir.DataType.FLOAT}
    assert sum(node.op_type == "DequantizeLinear" for node in nodes) == 4
    assert typed.cost is not None
    assert typed.cost.outputs[0].cosine > 0.99


def test_a_family_without_types_in_the_graph_is_given_the_operators_at_opset_17() -> None:
    typed = built(Precision.FP16, "8.5")
    assert typed.model.opset_imports[""] == 17
    assert operators(typed.model) == {"SpatialShift": 1, "ShiftSumPool": 1, "ShiftSum": 1}
    assert {value.dtype for node in typed.model.graph if node.domain for value in node.inputs} == {ir.DataType.FLOAT}
    assert not typed.model.functions


def test_float32_is_what_the_functions_compute(tmp_path: Path) -> None:
    typed = built(Precision.FP32)
    assert typed.changed
    for node in typed.model.graph:
        if node.domain:
            assert node.attributes["plugin_namespace"].value == "s2deploy"
            assert node.attributes["plugin_version"].value == "1"
            assert node.overload == ""
    # the definition of every node, in place of a plugin
    x = np.random.default_rng(1).standard_normal((2, 4, 5, 8)).astype(np.float32)
    values: dict[str, np.ndarray] = {"x": x}
    for value in typed.model.graph.initializers.values():
        values[str(value.name)] = value.const_value.numpy()
    known = {op.name: op for op in ops.OPS}
    for node in typed.model.graph:
        given = [values[str(value.name)] for value in node.inputs]
        if node.op_type in known:
            op = known[node.op_type]
            told = {attribute.name: node.attributes[attribute.name].value for attribute in op.attributes}
            result = op.reference(op.decode(told), *given)
        else:
            result = onnx.reference.ReferenceEvaluator(ir.to_proto(node)).run(
                None, dict(zip([str(value.name) for value in node.inputs], given, strict=True))
            )[0]
        values[str(node.outputs[0].name)] = result
    ir.save(attention(), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(values[str(node.outputs[0].name)], session.run(None, {"x": x})[0], rtol=1e-4, atol=1e-4)


def test_without_a_library_the_functions_are_written_out() -> None:
    typed = typed_for(attention(), family_of(Target.TENSORRT, "10.16"), options().typing)
    assert {node.domain for node in typed.model.graph} == {""}
    assert "s2deploy" not in typed.model.opset_imports
    assert typed.changed


def test_functions_of_others_are_written_out_and_operators_stay() -> None:
    model = attention()
    assert not inline(model, keep_operators=True)
    assert have_functions(model)
    as_plugins(model)
    assert not have_functions(model)
    assert not inline(model)
    again = ir.to_proto(model).SerializeToString(deterministic=True)
    as_plugins(model)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == again


@pytest.mark.parametrize("version", ["9.3", "10.16", "11.1"])
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_the_parser_of_every_version_finds_the_plugins(tmp_path: Path, version: str, precision: Precision) -> None:
    typed = built(precision, version)
    asked = request(
        tmp_path, version, ir.to_proto(typed.model), precision=precision, kernels="/lib/libs2deploy_plugins.so"
    )
    calls, answer = carry_out(version, asked)
    assert answer.error is None
    names = [call[0] for call in calls]
    assert ["IPluginRegistry.load_library", "libs2deploy_plugins.so"] in calls
    finder = "IPluginRegistry." + ("get_creator" if int(version.partition(".")[0]) >= 10 else "get_plugin_creator")
    assert [call[1:] for call in calls if call[0] == finder] == [[op.name, "1", "s2deploy"] for op in ops.OPS]
    assert names.index(finder) < names.index("Builder.create_network")


def test_a_library_that_registers_nothing_is_named(tmp_path: Path) -> None:
    typed = built(Precision.FP32)
    asked = request(tmp_path, "10.16", ir.to_proto(typed.model), kernels="/lib/other.so")
    with pytest.raises(AssertionError, match=r"TensorRT 10\.16 knows no plugin SpatialShift all the same"):
        carry_out("10.16", asked)


def library(folder: Path, operators: int = 1, tensorrt: int = 10, name: str = kernels.LIBRARY) -> Path:
    """Compiles a library that tells these versions and does nothing else."""
    folder.mkdir(exist_ok=True)
    source, path = folder / "versions.c", folder / name
    source.write_text(
        f"int s2deployOperatorVersion(void) {{ return {operators}; }}\n"
        f"int s2deployTensorRtMajor(void) {{ return {tensorrt}; }}\n"
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(path), str(source)], check=True)
    return path


@needs_compiler
def test_a_library_tells_what_it_was_built_for(tmp_path: Path) -> None:
    path = library(tmp_path, 1, 8)
    assert is_kernel_library(path)
    found = read_library(path)
    assert found == KernelLibrary(path, 1, 8)
    assert found.unfit(Toolchain(Target.TENSORRT, "8.5.3.1")) is None
    assert found.unfit(None) is None
    assert "built for TensorRT 8, this is TensorRT 10.16.0" in str(found.unfit(Toolchain(Target.TENSORRT, "10.16.0")))
    assert "version 2 of the operators, not version 1" in str(KernelLibrary(path, 2, 8).unfit(None))


def test_what_is_no_such_library(tmp_path: Path) -> None:
    other, damaged = tmp_path / "other.so", tmp_path / "damaged.so"
    other.write_bytes(b"\x7fELF of somebody else")
    damaged.write_bytes(b"\x7fELF s2deployOperatorVersion")
    assert not is_kernel_library(other)
    assert not is_kernel_library(tmp_path / "none.so")
    assert is_kernel_library(damaged)
    with pytest.raises(UsageError, match=r"damaged\.so cannot be loaded"):
        read_library(damaged)


@needs_compiler
def test_where_a_library_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "models" / "model.onnx"
    model.parent.mkdir()
    monkeypatch.delenv(kernels.ENVIRONMENT, raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path / 'system'}{os.pathsep}")
    looked = [path.relative_to(tmp_path).as_posix() for path in places(model) if path.is_relative_to(tmp_path)]
    assert looked == [f"{folder}/{kernels.LIBRARY}" for folder in ("models", "venv/lib", "venv/lib64", "system")]
    ten = Toolchain(Target.TENSORRT, "10.16")
    found, against = find_library(model, ten)
    assert found is None or not found.path.is_relative_to(tmp_path)
    system, beside = library(tmp_path / "system"), library(model.parent, tensorrt=8)
    found, against = find_library(model, ten)
    assert found == KernelLibrary(system, 1, 10)
    assert len(against) == 1
    assert str(beside) in against[0]
    named = library(tmp_path / "named")
    monkeypatch.setenv(kernels.ENVIRONMENT, str(named))
    assert places(model) == [named]
    assert find_library(model, ten) == (KernelLibrary(named, 1, 10), [])
