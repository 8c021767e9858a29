"""Translates TensorRT's log into one message with a next step, the original words kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from s2deploy.engine.request import Refusal
from s2deploy.errors import BuildError, CapabilityError, S2DeployError, TargetUnavailableError

if TYPE_CHECKING:
    import onnx_ir as ir

SOURCE_KEY = "s2deploy.source"
_NODE = re.compile(r"In node \d+ with name: (?P<name>.*?) and operator: (?P<op>\w+) \(")
_PARSED = re.compile(r"While parsing node number \d+ \[\w+ -> \"(?P<output>[^\"]*)\"")
# what the builder calls a layer once the model is parsed; a fused region is told by its first and last node
_BUILT = re.compile(
    r"(?:for node|[Oo]peration|[Ll]ayer) '?\{?(?:ForeignNode\[)?(?P<name>[^'\]\s}]+?)(?:\.{3}.*)?[\]}'.:]*(?:\s|$)"
)
_UNNAMED = "node_of_"
_PREFIX = re.compile(r"^\[[EF!]\] ")
# where the parser was, which its next line says again; and the driver's absence, which no build minds
_NOISE = re.compile(r"ModelImporter\.cpp:\d+: ---|While parsing node number|catchCudaError|Could not parse ONNX")
_LONGEST = 1200
_LAST_LINES = 5


class TensorRTLog(Exception):
    """TensorRT's log of a failed build, the cause of the `BuildError` that summarises it."""


@dataclass(frozen=True)
class _Diagnosis:
    pattern: re.Pattern[str]
    message: Callable[[re.Match[str], str], str]
    hint: str
    error: type[S2DeployError] = BuildError


_NO_IMPLEMENTATION = re.compile(
    r"Could not find any implementation|no tactics to implement|[Ii]ncrease the (?:allowed )?workspace"
)
# warnings, which TensorRT gives in good builds as well: they count only where nothing was found to run a node
_SHORT_OF_MEMORY = re.compile(
    r"GPU memory \(\d+ bytes\) could not be allocated|insufficient memory|out of memory|OutOfMemory", re.IGNORECASE
)
_GPU_FULL = (
    "free it (nvidia-smi shows what holds it), lower the largest sizes of the model's ranges, or build on a larger GPU"
)

_DIAGNOSES = (
    _Diagnosis(
        re.compile(r"PluginLoadError: (?P<what>.*)"),
        lambda match, _: f"the plugin library {match['what']}",
        "build it against the headers of this TensorRT; ldd shows whether the libraries it needs are here",
    ),
    _Diagnosis(
        re.compile(r"Cannot compile operation '.*?' for Turing \(SM75\): (?P<what>.*?) is not supported"),
        lambda match, _: f"compute capability 7.5 has no {match['what']}",
        "leave 7.5 out, or build with --fp16",
        CapabilityError,
    ),
    _Diagnosis(
        re.compile(r"Cannot compile for target\(s\) (?P<where>.*?), because the model contains HW-specific datatypes"),
        lambda match, _: f"the model computes in a type that {match['where']} lacks",
        "leave that compute capability out",
        CapabilityError,
    ),
    _Diagnosis(
        re.compile(r"ShapeInputError: input (?P<name>'.*') holds sizes"),
        lambda match, _: f"input {match['name']} holds sizes, whose values TensorRT would have to know beforehand",
        "export the model with these sizes as constants, or taken from the shape of another input",
    ),
    _Diagnosis(
        re.compile(r"no optimization profile has been defined|has dynamic or shape inputs, but no"),
        lambda *_: "a dynamic input has no profile",
        'say which sizes it takes, e.g. --input "x:batch=1..8..64,3,224,224"',
    ),
    _Diagnosis(
        _NO_IMPLEMENTATION,
        lambda _, node: f"no implementation of {node or 'a part of the model'} fits the workspace and the types",
        "give it more with --workspace, free memory of the GPU, or leave the node in float32 with --keep-fp32",
    ),
    _Diagnosis(
        re.compile(r"Plugin not found|could not find plugin|Cannot find plugin"),
        lambda _, node: f"TensorRT has no plugin for {node or 'a part of the model'}",
        "give the library that holds it with --plugin, or express it in operators of the ONNX standard",
    ),
    _Diagnosis(
        re.compile(r"driver version is insufficient|(?:cudaError|error:?) 35\b|forward compatibility was attempted"),
        lambda *_: "the NVIDIA driver is too old for this TensorRT",
        "update the driver, or install a TensorRT made for an older CUDA; --target rtx builds without a driver",
        TargetUnavailableError,
    ),
    _Diagnosis(
        re.compile(r"no CUDA-capable device|(?:cudaError|error:?) (?:100|101|999|803)\b|CUDA initialization failure"),
        lambda *_: "there is no NVIDIA GPU that CUDA can use",
        "check it with nvidia-smi; --target rtx builds without a GPU",
        TargetUnavailableError,
    ),
    _Diagnosis(
        re.compile(r"not compatible with this version of TensorRT|[Vv]ersion tag does not match|library version"),
        lambda *_: "the engine is of another version of TensorRT than the one that runs here",
        "run it with the version that built it, or build it again here",
    ),
    _Diagnosis(
        re.compile(r"[Mm]agic ?[Tt]ag"),
        lambda *_: "the engine is damaged, or of another family of TensorRT than the one that runs here",
        "build it again",
    ),
    _Diagnosis(
        re.compile(r"generated on an incompatible device|expecting compute \S+ got compute"),
        lambda *_: "the engine was built for another GPU than the one of this machine",
        "build it again on this machine, or with --hardware-compatible",
    ),
    _Diagnosis(
        re.compile(r"UNSUPPORTED_(?:NODE|GRAPH)|No importer registered"),
        lambda _, node: f"TensorRT does not support {node or 'a part of the model'}",
        "express it in other operators or types; the ONNX file itself runs on onnxruntime",
    ),
    _Diagnosis(
        re.compile(r"Cuda (?:Runtime|Driver) \(out of memory\)|cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY"),
        lambda *_: "the GPU's memory ran out",
        _GPU_FULL,
    ),
    _Diagnosis(
        re.compile(r"out of memory|OutOfMemory|bad_alloc|MemoryError", re.IGNORECASE),
        lambda *_: "memory ran out",
        "lower the largest sizes of the model's ranges, or build on a larger machine",
    ),
    _Diagnosis(
        re.compile(r"No space left on device"),
        lambda *_: "the disk is full",
        "free some space or write to another disk",
    ),
    _Diagnosis(
        re.compile(r"ModuleNotFoundError|ImportError|could not be imported|cannot open shared object file"),
        lambda *_: "TensorRT cannot be imported",
        'install it again, e.g. pip install --force-reinstall "s2deploy[rtx]"',
    ),
)
_WITHOUT_MEMORY = _Diagnosis(
    _NO_IMPLEMENTATION,
    lambda _, node: f"the GPU's memory ran out before an implementation of {node or 'a part of the model'} was found",
    _GPU_FULL,
)
_FALLBACK_HINT = "these words are TensorRT's own; a node they name can be found in the ONNX file with netron"


def diagnose(error: str, log: str, model: ir.Model | None = None) -> S2DeployError:
    """Returns the error that a failed build should raise: a `BuildError`, or a `CapabilityError`.

    Args:
        error: What the building process raised.
        log: Everything it and TensorRT printed.
        model: The model, whose nodes know which line of PyTorch they came from.
    """
    errors = error_lines(log)
    node = _describe_node(log, model)
    said = _indented(errors or [error])
    known = _recognise("\n".join([*errors, error]))
    found: S2DeployError
    if known is not None:
        diagnosis, match = known
        if diagnosis.pattern is _NO_IMPLEMENTATION and _SHORT_OF_MEMORY.search(log):
            diagnosis = _WITHOUT_MEMORY
        found = diagnosis.error(f"{diagnosis.message(match, node)}; TensorRT says:\n{said}", hint=diagnosis.hint)
    else:
        where = f" at {node}" if node else ""
        found = BuildError(f"TensorRT cannot build the model{where}; it says:\n{said}", hint=_FALLBACK_HINT)
    found.__cause__ = TensorRTLog(f"{log}\n{error}")
    return found


def explain(refusal: Refusal, model: ir.Model) -> str:
    """Returns in one line why the parser does not take a node, its own words included.

    Args:
        refusal: What the parser said of it.
        model: The model, whose nodes know which line of PyTorch they came from.
    """
    node = _described(refusal.operator, refusal.node, refusal.output, _find(model, refusal.node, refusal.output))
    known = _recognise(refusal.words)
    cause = f"TensorRT cannot import {node}" if known is None else known[0].message(known[1], node)
    return f"{cause}: {refusal.words}"


def _recognise(text: str) -> tuple[_Diagnosis, re.Match[str]] | None:
    found = ((diagnosis, diagnosis.pattern.search(text)) for diagnosis in _DIAGNOSES)
    return next(((diagnosis, match) for diagnosis, match in found if match is not None), None)


def last_words(log: str) -> str:
    """Returns what a process said before it died: its errors, or else its last lines; indented."""
    lines = [line for line in log.splitlines() if line.strip() and "'colored' module" not in line]
    return _indented(error_lines(log) or lines[-_LAST_LINES:])


def error_lines(log: str) -> list[str]:
    """Returns the lines of a log that tell errors, each once."""
    lines = (line.rstrip() for line in log.splitlines())
    return list(dict.fromkeys(line for line in lines if _PREFIX.match(line) and not _NOISE.search(line)))


def _indented(lines: list[str]) -> str:
    return "\n".join("  " + _PREFIX.sub("", line) for line in lines)[:_LONGEST]


def _describe_node(text: str, model: ir.Model | None) -> str:
    """Returns the operator TensorRT stopped at, with its name or output and its line of PyTorch; nothing if unknown."""
    parsed, told = _PARSED.search(text), _NODE.search(text)
    output = "" if parsed is None else parsed["output"]
    node = None
    if model is not None:
        node = _find(model, told["name"], output) if told is not None else _find_built(model, text)
    if told is not None:
        operator, name = told["op"], told["name"]
    elif node is not None:
        operator, name, output = node.op_type, node.name or "", str(node.outputs[0].name)
    else:
        return ""
    return _described(operator, name, output, node)


def _described(operator: str, name: str, output: str, node: ir.Node | None) -> str:
    if not operator:
        return "the model"
    where = "" if node is None else node.metadata_props.get(SOURCE_KEY, "")
    which = f"{operator}, which makes {output!r}" if output and not name else f"{operator} {name!r}"
    return which + (f" ({where})" if where else "")


def _find(model: ir.Model, name: str, output: str) -> ir.Node | None:
    for node in model.graph.all_nodes():
        if (name and node.name == name) or (not name and any(value.name == output for value in node.outputs)):
            return node
    return None


def _find_built(model: ir.Model, text: str) -> ir.Node | None:
    """Returns the node the builder failed at, which it names like the node, or after its first output."""
    for match in _BUILT.finditer(text):
        name = match["name"]
        found = _find(model, name, "") or _find(model, "", name.removeprefix(_UNNAMED))
        if found is not None:
            return found
    return None
