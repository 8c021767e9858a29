"""Translates an exported program to an ONNX model in which data movement is Slice and Concat, not ScatterND.

torch's exporter does the work, without its optimiser (quadratic in the number of in-place writes). Three things differ
from its defaults: slice bounds are made constant in the decomposed program (`slices`), partial writes have their own
translations (`operators`), and what torch records about each node shrinks to a line number (`provenance`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from s2deploy.environment import quiet
from s2deploy.errors import ExportError
from s2deploy.exporter.arithmetic import make_divisions_exact
from s2deploy.exporter.booleans import count_booleans
from s2deploy.exporter.clamps import make_bounds_floats
from s2deploy.exporter.complex_operators import compute_by_parts
from s2deploy.exporter.convolutions import multiply_in_dynamic_groups
from s2deploy.exporter.diagonal_writes import choose_along_diagonals, write_diagonals_under_masks
from s2deploy.exporter.failures import translation_error
from s2deploy.exporter.masks import choose_by_masks
from s2deploy.exporter.naming import derived_output_names, name_dimensions, name_inputs, name_outputs, separate_outputs
from s2deploy.exporter.operators import translation_table
from s2deploy.exporter.provenance import keep_source_lines
from s2deploy.exporter.rolls import unroll
from s2deploy.exporter.slices import make_bounds_constant
from s2deploy.exporter.splits import gather_by_one_index, split_by_slices
from s2deploy.exporter.state import Change, name_state, return_state
from s2deploy.exporter.views import check_dynamic_sizes, check_writes_into_views, select_what_unbind_returns
from s2deploy.specs import TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

OPSETS = range(18, 24)
"""The opsets torch's exporter writes."""


def to_onnx(
    program: torch.export.ExportedProgram,
    specs: Sequence[TensorSpec],
    *,
    opset: int = 20,
    output_names: Sequence[str] | None = None,
) -> ir.Model:
    """Translates a program to ONNX.

    The model's inputs carry the names and the dynamic dimensions of the specification, its initializers the names of
    the state_dict, its nodes `provenance.SOURCE`. New values of buffers that forward writes follow its outputs (see
    `state`); changes of its inputs are no outputs.

    Args:
        program: What `capture` returned; also any program that takes one tensor per specification.
        specs: The inputs in order.
        opset: Version of the default ONNX domain, one of `OPSETS`.
        output_names: Names of what forward returns; derived from its structure unless given.

    Raises:
        ExportError: An operator has no translation, or the opset cannot be written.
    """
    import onnx_ir.passes.common as passes
    import torch

    if opset not in OPSETS:
        raise _opset_error(opset)
    check_writes_into_views(program)
    prepared = _prepared(program)
    with quiet():  # torch's exporter logs and warns about its own workings
        try:
            exported = torch.onnx.export(
                prepared,
                (),
                dynamo=True,
                optimize=False,
                opset_version=opset,
                verbose=False,
                custom_translation_table=dict(translation_table()),
            )
        except Exception as error:  # translations raise whatever comes to them
            raise translation_error(error, prepared.decomposed) from error
    assert exported is not None  # only the TorchScript exporter returns None
    model: ir.Model = exported.model
    keep_source_lines(model)
    if model.functions:
        passes.InlinePass()(model)
    if model.opset_imports.get("") != opset:
        raise _opset_error(opset)
    name_dimensions(model, program, specs)
    name_inputs(model, [spec.name for spec in specs])
    count = len(model.graph.outputs) - len(prepared.changes)
    names = list(output_names or derived_output_names(program, count))
    taken = {spec.name for spec in specs} | set(names) | set(model.graph.initializers)
    separate_outputs(model)
    name_outputs(model, [*names, *name_state(model.graph.outputs[count:], prepared.changes, taken)])
    passes.RemoveUnusedNodesPass()(model)
    return model


def _prepared(program: torch.export.ExportedProgram) -> Any:
    """Returns the program with a decomposition of its own.

    `decomposed` is the graph that comes of it, `changes` what it returns beside what forward does.
    torch.onnx.export decomposes by itself, with a table only it knows; decomposing beforehand would do the slowest
    part of an export twice.
    """
    import torch

    class Prepared(torch.export.ExportedProgram):
        def __init__(self) -> None:
            self.__dict__.update(program.__dict__)
            self._graph_module = write_diagonals_under_masks(select_what_unbind_returns(program.graph_module))
            self.decomposed: torch.fx.Graph | None = None
            self.changes: tuple[Change, ...] = ()

        def run_decompositions(self, *args: Any, **kwargs: Any) -> torch.export.ExportedProgram:
            result: torch.export.ExportedProgram = super().run_decompositions(*args, **kwargs)
            self.decomposed = result.graph
            check_dynamic_sizes(program, result)
            _keep_tensors(result)
            self.changes = return_state(result)
            compute_by_parts(result.graph_module)
            make_divisions_exact(result.graph_module)
            unroll(result.graph_module)
            multiply_in_dynamic_groups(result.graph_module)
            split_by_slices(result.graph_module)
            make_bounds_floats(result.graph_module)
            count_booleans(result.graph_module)
            choose_along_diagonals(result.graph_module)
            choose_by_masks(result.graph_module)
            gather_by_one_index(result.graph_module)
            make_bounds_constant(result.graph_module)
            return result

    return Prepared()


def _keep_tensors(program: torch.export.ExportedProgram) -> None:
    """Drops the numbers and Nones that forward returns: an ONNX output is a tensor."""
    import torch

    specs = program.graph_signature.output_specs
    kept = [isinstance(spec.arg, torch.export.graph_signature.TensorArgument) for spec in specs]
    output = program.graph.output_node()
    output.args = (tuple(itertools.compress(output.args[0], kept)),)
    specs[:] = itertools.compress(specs, kept)


def _opset_error(opset: int) -> ExportError:
    return ExportError(
        f"opset {opset} cannot be written for this model",
        hint=f"use --opset {OPSETS[0]} to {OPSETS[-1]}; 20 is the default",
    )
