"""Captures a module as an exported program at sizes that specialise nothing.

torch.export decides what is fixed; this module chooses what it is shown, and turns what it reports into advice in the
grammar of the command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from s2deploy.errors import S2DeployError
from s2deploy.exporter.baked import check_program, remarks_on
from s2deploy.exporter.failures import depends_on_data, is_constraint_violation, tracing_error
from s2deploy.exporter.settling import Doubt, settle, vouch
from s2deploy.exporter.sizes import attempts
from s2deploy.exporter.state import check_state
from s2deploy.exporter.tracing import export, named_dims_for
from s2deploy.specs import TensorSpec

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Captured:
    """A captured module.

    Attributes:
        program: The program, not decomposed; its tensor inputs are the specifications in order.
        sizes: The example size of every dynamic dimension.
        remarks: What the user should know about the program, one sentence each.
        doubt: Declared sizes that torch.export does not vouch for; None where it does for all.
    """

    program: torch.export.ExportedProgram
    sizes: Mapping[str, int]
    remarks: tuple[str, ...]
    doubt: Doubt | None = None


def capture(module: torch.nn.Module, specs: Sequence[TensorSpec]) -> Captured:
    """Captures a module with torch.export.

    Args:
        module: A module in eval mode; it is not changed.
        specs: Its inputs, in the order of forward's arguments.

    Raises:
        UsageError: forward takes another number of inputs, or does not accept their ranks or dtypes.
        ExportError: forward fixes or restricts a size that was declared dynamic, depends on the values of a tensor,
            or raises.
    """
    failure: S2DeployError | None = None
    for sizes in attempts(specs, _parameter_sizes(module)):
        try:
            program = export(module, specs, sizes, named_dims_for())
        except S2DeployError:
            raise
        except Exception as error:  # torch.export lets everything through that the model raises
            if is_constraint_violation(error):
                program, doubt = settle(error, module, specs, sizes)
            else:
                failure = tracing_error(error, specs, sizes)
                failure.__cause__ = error
                if depends_on_data(error):
                    break
                continue
        else:
            program, doubt = vouch(program, module, specs, sizes)
        check_program(program, specs)
        check_state(program)
        return Captured(program, sizes, remarks_on(program), doubt)
    assert failure is not None
    raise failure from failure.__cause__


def _parameter_sizes(module: torch.nn.Module) -> set[int]:
    tensors = [*module.parameters(), *module.buffers()]
    return {size for tensor in tensors for size in tensor.shape}
