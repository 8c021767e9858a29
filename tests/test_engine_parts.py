"""The parts of a build that need no TensorRT: capabilities, dialects, profiles, adaption, diagnosis, the request."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import small_models
from engine_builds import request
from onnx_ir.passes import common as passes
from small_models import make, weights

from s2deploy.engine import capabilities
from s2deploy.engine.adapt import adapt
from s2deploy.engine.diagnosis import TensorRTLog, diagnose, explain, last_words
from s2deploy.engine.families import family_of
from s2deploy.engine.parsing import refused
from s2deploy.engine.products import Product, onnx_nodes
from s2deploy.engine.profiles import exported_ranges, make_profile
from s2deploy.engine.request import Answer, Refusal, Request
from s2deploy.engine.typed import typed_for
from s2deploy.errors import ArtifactError, BuildError, CapabilityError, TargetUnavailableError, UsageError
from s2deploy.options import PrecisionOptions
from s2deploy.precision import typed
from s2deploy.sidecar import Device, EngineTensor, ProfileShapes
from s2deploy.specs import Precision, Target, parse_inputs

ALL = ((7, 5), (8, 0), (8, 6), (8, 9), (12, 0), (12, 1))


def test_default_capabilities_follow_the_types_of_matrix_products() -> None:
    perceptron, convolution = (
        ir.from_proto(model) for model in (small_models.perceptron(), small_models.convolution())
    )
    assert capabilities.choose([], perceptron) == ALL[1:]
    assert capabilities.choose([], convolution) == ALL
    assert capabilities.choose([], typed(perceptron, PrecisionOptions(Precision.FP16)).model) == ALL


def test_turing_is_refused_with_the_operator() -> None:
    model = ir.from_proto(small_models.perceptron())
    with pytest.raises(CapabilityError, match=r"7\.5 has no fp32 matrix product \(MatMul 'a'\)"):
        capabilities.choose([(7, 5)], model)
    assert capabilities.choose([(8, 9), (8, 0)], model) == ((8, 9), (8, 0))


def test_turing_has_no_bfloat16() -> None:
    model = ir.from_proto(make("(bfloat16[2] x) => (bfloat16[2] y)", "y = Relu(x)"))
    with pytest.raises(CapabilityError, match=r"no bfloat16 \(Relu 'y'\)") as caught:
        capabilities.choose([(7, 5)], model)
    assert "fp16" not in caught.value.hint


@pytest.mark.parametrize("text", ["8.7", "8", "86", "", "8.6.0", "-8.6"])
def test_unknown_capabilities(text: str) -> None:
    with pytest.raises(CapabilityError) as caught:
        capabilities.parse(text)
    assert caught.value.hint == "TensorRT-RTX builds for 7.5, 8.0, 8.6, 8.9, 12.0, 12.1"


def test_a_profile_holds_the_dynamic_inputs_only() -> None:
    model = ir.from_proto(make("(float[n,4] x, float[4] b) => (float[n,4] y)", "y = Add(x, b)"))
    specs = parse_inputs(["x:n=2..6..8/2,4", "b:4"])
    assert make_profile(model, specs) == {"x": ProfileShapes((2, 4), (6, 4), (8, 4))}


@pytest.mark.parametrize("text", ["x:n=1..4", "x:n=1..4,5", "x:n=1..4,c=4..8", "x:3,5"])
def test_ranges_must_fit_the_model(text: str) -> None:
    model = ir.from_proto(make("(float[n,4] x) => (float[n,4] y)", "y = Relu(x)"))
    with pytest.raises(UsageError, match=r"does not fit input 'x' of shape \?x4"):
        make_profile(model, parse_inputs([text]))


def test_an_input_without_a_rank_is_refused() -> None:
    model = ir.from_proto(make("(float[n,4] x) => (float[n,4] y)", "y = Relu(x)"))
    model.graph.inputs[0].shape = None
    with pytest.raises(UsageError, match="not even a rank"):
        make_profile(model, ())


def test_damaged_ranges_are_an_artifact_error() -> None:
    model = ir.from_proto(make("(float[n,4] x) => (float[n,4] y)", "y = Relu(x)"))
    assert exported_ranges(model) == ()
    model.metadata_props["s2deploy.inputs"] = '["x:n=4..1,4"]'
    with pytest.raises(ArtifactError, match="is damaged"):
        exported_ranges(model)


def sliced(body: str = "y = Slice(x, s, e)") -> ir.Model:
    starts = {"s": np.array([1, 0]), "e": np.array([3, 2]), "a": np.array([0, 1])}
    return ir.from_proto(make("(float[4,5,6] x) => (float[2,2,6] y)", body, starts))


def test_a_slice_without_axes_gets_the_first_ones() -> None:
    model = sliced("z = Slice(x, s, e) y = Identity(z)")
    x = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
    assert adapt(model)
    (node,) = (node for node in model.graph if node.op_type == "Slice")
    assert node.inputs[3].const_value.numpy().tolist() == [0, 1]
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], x[1:3, 0:2])


def test_adapting_again_changes_nothing() -> None:
    model = sliced()
    assert adapt(model)
    assert not adapt(model)


def test_a_slice_with_axes_is_left_alone() -> None:
    assert not adapt(sliced("y = Slice(x, s, e, a)"))


@pytest.mark.parametrize("moved", ["b = Identity(a)", "b = Transpose<perm=[1, 0, 2]>(a)"])
def test_a_recurrence_is_kept_apart_from_a_cast(moved: str) -> None:
    body = f"a = Cast<to=1>(x) {moved} c = GRU<hidden_size=2>(b, w, r) y = Neg(c)"
    given = {"w": weights(1, 6, 4), "r": weights(1, 6, 2)}
    model = ir.from_proto(make("(float16[3,3,4] x) => (float[3,1,3,2] y)", body, given))
    feed = {"x": weights(3, 3, 4, dtype=np.float16)}
    before = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString()).run(None, feed)
    passes.ShapeInferencePass()(model)
    assert adapt(model)
    assert not adapt(model)
    assert [node.op_type for node in model.graph][2:4] == ["Add", "GRU"]
    after = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString()).run(None, feed)
    np.testing.assert_array_equal(before, after)


def test_a_recurrence_that_reads_no_cast_is_left_alone() -> None:
    given = {"w": weights(1, 6, 4), "r": weights(1, 6, 2)}
    model = ir.from_proto(make("(float[3,3,4] x) => (float[3,1,3,2] y)", "y = GRU<hidden_size=2>(x, w, r)", given))
    assert not adapt(model)


def test_nameless_layers_belong_to_their_loop_or_to_what_encloses_them() -> None:
    told = [
        ("a", "CONSTANT"), ("", "MATRIX_MULTIPLY"), ("rnn", "RECURRENCE"), ("", "MATRIX_MULTIPLY"),
        ("", "LOOP_OUTPUT"), ("", "MATRIX_MULTIPLY"), ("b", "CAST"), ("", "MATRIX_MULTIPLY"), ("b", "SHUFFLE"),
    ]  # fmt: skip
    layers = [
        SimpleNamespace(name=f"l{i}", metadata=f"[ONNX Layer: {node}]" if node else "", type=SimpleNamespace(name=kind))
        for i, (node, kind) in enumerate(told)
    ]
    assert onnx_nodes(layers) == ["a", "l1", "rnn", "rnn", "l4", "l5", "b", "b", "b"]
    assert onnx_nodes([SimpleNamespace(name="of 8.5", type=SimpleNamespace(name="SHUFFLE"))]) == ["of 8.5"]


def test_powers_stay_in_float32_where_flags_type_the_network() -> None:
    body = "[mm] a = MatMul(x, w) [power] b = Pow(a, two) [sum] y = ReduceSum(b)"
    given = {"w": weights(4, 4), "two": np.float32(2)}
    model = ir.from_proto(make("(float[2,4] x) => (float[1,1] y)", body, given, 17))
    asked = PrecisionOptions(Precision.FP16)
    assert typed_for(model, family_of(Target.TENSORRT, "8.5"), asked).kept == ("power",)


def test_the_diagnosis_keeps_the_words_and_the_log() -> None:
    log = (
        "[W] 'colored' module is not installed\n[W] careful: out of memory for one tactic\n"
        '[E] ModelImporter.cpp:140: While parsing node number 7 [Frob -> "out"]:\n'
        "[E] In node 7 with name:  and operator: Frob (check): UNSUPPORTED_NODE: false\n"
        "[E] In node 7 with name:  and operator: Frob (check): UNSUPPORTED_NODE: false\n"
    )
    error = diagnose("PolygraphyException: Could not parse ONNX correctly", log)
    assert error.message == (
        "TensorRT does not support Frob, which makes 'out'; TensorRT says:\n"
        "  In node 7 with name:  and operator: Frob (check): UNSUPPORTED_NODE: false"
    )
    assert isinstance(error.__cause__, TensorRTLog)
    assert log in str(error.__cause__)


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        (
            "[E] Cannot compile operation 'a' for Turing (SM75): FP32 GEMM is not supported.",
            CapabilityError,
            "FP32 GEMM",
        ),
        (
            "[E] Cannot compile for target(s) sm75, because the model contains HW-specific datatypes: b16",
            CapabilityError,
            "a type that sm75 lacks",
        ),
        ("[E] std::bad_alloc", BuildError, "memory ran out"),
        (
            "[E] 10: Could not find any implementation for node a.",
            BuildError,
            "no implementation of MatMul 'a' (net.py:7) fits the workspace",
        ),
        (
            "[E] Error Code 10: Could not find any implementation for node {ForeignNode[node_of_b...y]}.",
            BuildError,
            "no implementation of Add, which makes 'b' fits the workspace",
        ),
        (
            '[E] In node 0 with name: a and operator: Frob (check): INVALID_NODE: creator && "Plugin not found, are"',
            BuildError,
            "TensorRT has no plugin for Frob 'a' (net.py:7)",
        ),
        (
            "[W] Requested amount of GPU memory (8589934592 bytes) could not be allocated.\n"
            "[E] 10: Could not find any implementation for node a.",
            BuildError,
            "the GPU's memory ran out before an implementation of MatMul 'a' (net.py:7) was found",
        ),
        ("[E] 1: [x.cpp::f::1] Error Code 1: Cuda Runtime (out of memory)", BuildError, "the GPU's memory ran out"),
        (
            "[W] Skipping tactic due to insufficient memory\n[E] something new",
            BuildError,
            "TensorRT cannot build the model; it says:\n  something new",
        ),
        ("[E] 3: Cannot find plugin: Frob, version: 1, namespace: mine.", BuildError, "no plugin for a part of the"),
        ("[E] 1: Serialization assertion magicTagRead == kMAGIC_TAG failed.Magic tag", BuildError, "is damaged, or"),
        ("[E] 1: stdVersionRead failed.Version tag does not match.", BuildError, "another version of TensorRT"),
        ("[E] In node 0 with name: a and operator: Frob (f): UNSUPPORTED_NODE_ATTR: x", BuildError, "not support Frob"),
        (
            "[E] 4: Network has dynamic or shape inputs, but no optimization profile has been defined",
            BuildError,
            "profile",
        ),
        ("[E] 6: CUDA initialization failure with error: 35", TargetUnavailableError, "driver is too old"),
        ("[E] 6: CUDA initialization failure with error: 100", TargetUnavailableError, "no NVIDIA GPU that CUDA"),
        (
            "[E] 1: The engine plan file is not compatible with this version of TensorRT, expecting 8.5",
            BuildError,
            "another version of TensorRT",
        ),
        ("[E] 6: The engine plan file is generated on an incompatible device, expecting", BuildError, "another GPU"),
        ("[E] something new", BuildError, "TensorRT cannot build the model; it says:\n  something new"),
    ],
)
def test_diagnoses(line: str, kind: type, message: str) -> None:
    model = ir.from_proto(small_models.perceptron())
    product = next(iter(model.graph))
    product.name, product.metadata_props["s2deploy.source"] = "a", "net.py:7"
    error = diagnose("PolygraphyException: Invalid Engine", line, model)
    assert type(error) is kind
    assert message in error.message
    assert line.splitlines()[-1].removeprefix("[E] ") in error.message
    assert error.hint


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("PluginLoadError: /lib/shift.so cannot be loaded", "the plugin library /lib/shift.so cannot be loaded"),
        ("ModuleNotFoundError: No module named 'tensorrt_rtx'", "TensorRT cannot be imported"),
        ("Module: 'tensorrt_rtx' is required but could not be imported.", "TensorRT cannot be imported"),
        ("ValueError: odd", "TensorRT cannot build the model; it says:\n  ValueError: odd"),
    ],
)
def test_errors_outside_tensorrt(error: str, message: str) -> None:
    assert message in diagnose(error, "").message


def test_last_words_are_the_errors_or_the_end() -> None:
    assert last_words("a\n[E] b\nc\n") == "  b"
    assert last_words("\n".join("abcdefg")) == "  c\n  d\n  e\n  f\n  g"
    assert last_words("") == ""


def test_request_and_answer_survive_the_journey() -> None:
    shapes = {"x": ProfileShapes((1, 2), (3, 2), (4, 2))}
    request = Request(
        "m.onnx", "m.plan", Target.RTX, "1.7", Precision.BF16, kept=("a",), profiles=(shapes, shapes),
        capabilities=((8, 6), (8, 9)), workspace_bytes=5, timing_cache="t", plugins=("p.so",),
    )  # fmt: skip
    assert Request.from_json(request.to_json()) == request
    product, device = Product("a", "convolution", "int8"), Device("GPU", "8.6")
    tensors = (EngineTensor("x", (-1, 2), "float32"),)
    answer = Answer(None, "1.7", tensors, (), True, 1.5, (product,), (product, product), device, ("slow",))
    assert Answer.from_json(answer.to_json()) == answer


def test_what_a_parser_refuses_without_naming_a_node_is_told(tmp_path: Path) -> None:
    class Error:
        """An error of TensorRT 8.5, which knows its node by number; a general one has none."""

        def __init__(self, node: int, words: str) -> None:
            self.node, self.desc = lambda: node, lambda: words
            self.code, self.func = lambda: "ErrorCode.INTERNAL_ERROR", lambda: ""

    rounds = [[Error(-1, "something general"), Error(0, "no such product")], [Error(-1, "something general")]]

    class Family:
        def parser(self, asked: Request) -> tuple[None, None, object]:
            errors = rounds.pop(0)
            told = SimpleNamespace(
                num_errors=len(errors), get_error=errors.__getitem__, parse_from_file=lambda path: False
            )
            return None, None, told

    found = refused(Family(), request(tmp_path, "8.5"))  # type: ignore[arg-type]
    general, product = found
    assert general == Refusal("", "", "", "INTERNAL_ERROR: something general")
    assert (product.operator, product.words) == ("MatMul", "INTERNAL_ERROR: no such product")
    assert explain(general, ir.from_proto(small_models.perceptron())) == (
        "TensorRT cannot import the model: INTERNAL_ERROR: something general"
    )
