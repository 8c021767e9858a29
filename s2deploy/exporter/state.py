"""State that forward changes, as outputs: an ONNX file keeps none between its runs.

Before: outputs are what forward returns; new values of buffers and parameters are computed and dropped
After:  they follow the outputs of forward, each named after its buffer

A run of the file starts from the values in the file, as a run of the module would after loading it; whoever wants the
next run to go on from there keeps the state outside.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s2deploy.errors import ExportError
from s2deploy.exporter.attributes import another_shape
from s2deploy.exporter.baked import memory_of, written_tensor
from s2deploy.exporter.provenance import SOURCE, beginning, source_line

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

STATE = "s2deploy.state"
"""Key of an output's metadata: the qualified name of the buffer or parameter whose new value it is."""


@dataclass(frozen=True)
class Change:
    """A buffer or parameter that forward gives a new value.

    Attributes:
        target: Its qualified name in the module.
        line: The line that computes the value, ``file.py:LINE``; "" where it is not known.
    """

    target: str
    line: str


def return_state(program: torch.export.ExportedProgram) -> tuple[Change, ...]:
    """Makes the new values of buffers and parameters outputs behind those of forward, in a decomposed program."""
    from torch.export.graph_signature import OutputKind

    changes = (OutputKind.BUFFER_MUTATION, OutputKind.PARAMETER_MUTATION)
    output = program.graph.output_node()
    pairs = list(zip(program.graph_signature.output_specs, output.args[0], strict=True))
    pairs.sort(key=lambda pair: pair[0].kind in changes)
    returned = []
    for spec, value in pairs:
        if spec.kind in changes:
            returned.append(Change(str(spec.target), _line(value)))
            spec.kind = OutputKind.USER_OUTPUT
    program.graph_signature.output_specs[:] = [spec for spec, _ in pairs]
    output.args = (tuple(value for _, value in pairs),)
    return tuple(returned)


def _line(value: Any) -> str:
    """Returns the line that a value comes from; one that torch has copied at the end of forward is followed back."""
    while (line := source_line(value.meta.get("stack_trace") or "")) is None and value.all_input_nodes:
        value = value.all_input_nodes[-1]
    return line or ""


def name_state(outputs: Sequence[ir.Value], changes: Sequence[Change], taken: Collection[str]) -> list[str]:
    """Returns a name for each output that is a new value, and notes in its metadata what it is.

    Args:
        outputs: The outputs in the order of the changes.
        changes: What `return_state` returned.
        taken: Names of inputs, weights and other outputs.
    """
    names: list[str] = []
    for value, change in zip(outputs, changes, strict=True):
        base = name = f"{change.target.replace('.', '_')}_out"
        number = 1
        while name in taken or name in names:
            number += 1
            name = f"{base}_{number}"
        names.append(name)
        value.metadata_props[STATE] = change.target
        if change.line:
            value.metadata_props[SOURCE] = change.line
    return names


def state_of(model: ir.Model) -> dict[str, str]:
    """Returns the outputs that are new values: the buffer or parameter by the output's name."""
    return {
        str(value.name): value.metadata_props[STATE] for value in model.graph.outputs if STATE in value.metadata_props
    }


def state_remarks(model: ir.Model) -> tuple[str, ...]:
    """Returns what the user should know about the outputs that are new values, one sentence each."""
    remarks = []
    for value in model.graph.outputs:
        if STATE not in value.metadata_props:
            continue
        line = value.metadata_props.get(SOURCE)
        remarks.append(
            f"{f'{line}: ' if line else ''}forward changes {value.metadata_props[STATE]}; the file returns the new "
            f"value as its output {value.name}, and every run starts from the stored one: to carry it from run to run, "
            "make it an input of forward"
        )
    return tuple(remarks)


def check_state(program: torch.export.ExportedProgram) -> None:
    """Checks that what forward changes can be returned as an output.

    Raises:
        ExportError: Forward changes a tensor that is no buffer, one tensor under two names, or the shape of a buffer.
    """
    signature = program.graph_signature
    names = {**signature.inputs_to_buffers, **signature.inputs_to_parameters}
    constants = signature.inputs_to_lifted_tensor_constants
    for node in program.graph.nodes:
        written = written_tensor(node)
        root = None if written is None else memory_of(written)
        if root is None:
            continue
        at = beginning(node)
        if root.name in constants:
            raise ExportError(
                f"{at}forward changes {constants[root.name]}, which is no buffer; torch.export keeps track of buffers",
                hint="make it one in __init__: self.register_buffer(NAME, TENSOR, persistent=False)",
            )
        name = names.get(root.name)
        if name is None:
            continue
        others = _names_of_the_same_tensor(program, name)
        if others:
            raise ExportError(
                f"{at}forward changes {name}, which is the same tensor as {' and '.join(others)}",
                hint="keep it in one place of the model, or give each its own with .clone()",
            )
        if written is root and not _fits(node.args[1], root):
            raise another_shape(name, at)


def _names_of_the_same_tensor(program: torch.export.ExportedProgram, name: str) -> list[str]:
    tensors = {**dict(program.named_buffers()), **dict(program.named_parameters())}
    mine = tensors[name].untyped_storage().data_ptr()
    return [other for other, tensor in tensors.items() if other != name and tensor.untyped_storage().data_ptr() == mine]


def _fits(value: Any, buffer: Any) -> bool:
    """Whether a value can be copied to a buffer as it is; torch.export writes an assigned buffer as such a copy."""
    shape, size = (getattr(getattr(node, "meta", {}).get("val"), "shape", None) for node in (value, buffer))
    if shape is None or size is None:
        return True
    pairs = zip(reversed(shape), reversed(size), strict=False)
    return len(shape) <= len(size) and all(mine == theirs or mine == 1 for mine, theirs in pairs)
