"""Views of a captured program whose writes make torch's decomposition forget that a size is dynamic.

Before: getitem(unbind(x, dim), i)
After:  select(x, dim, i), the same view of the same memory

A write into what unbind returns fixes every dynamic size of x to the example's when torch decomposes the program,
without a word. So does one into what unfold returns, which has no other form, and one into what diagonal returns is
left a write by the decomposition: such programs are refused, with the line.

Requires: nothing
Preserves: values, shapes, names and aliasing; the program given is not changed
"""

from __future__ import annotations

import copy
import operator
from typing import TYPE_CHECKING

from s2deploy.errors import ExportError
from s2deploy.exporter.baked import viewed_tensor, written_tensor
from s2deploy.exporter.diagonal_writes import is_write_into_diagonal
from s2deploy.exporter.naming import input_shapes
from s2deploy.exporter.provenance import beginning

if TYPE_CHECKING:
    import torch

_INSTEAD = {
    "unfold": "write to slices of the tensor, or make the windows anew and put them together with torch.cat",
    "diagonal": "choose by a mask: torch.where(torch.eye(n, m, dtype=torch.bool), values, x)",
}


def select_what_unbind_returns(graph_module: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """Returns a graph module without unbind; the one given where there is none in it."""
    import torch

    aten = torch.ops.aten
    if not any(node.target is aten.unbind.int for node in graph_module.graph.nodes):
        return graph_module
    changed = copy.deepcopy(graph_module)
    for node in list(changed.graph.nodes):
        if node.target is not aten.unbind.int or not all(user.target is operator.getitem for user in node.users):
            continue
        tensor = node.args[0]
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        for part in list(node.users):
            part.target, part.args = aten.select.int, (tensor, dim, part.args[1])
        changed.graph.erase_node(node)
    changed.recompile()
    return changed


def check_writes_into_views(program: torch.export.ExportedProgram) -> None:
    """Checks that nothing is written into views that have no form in ONNX.

    Raises:
        ExportError: Something is.
    """
    import torch

    aten = torch.ops.aten
    for node in program.graph.nodes:
        view = None if is_write_into_diagonal(node) else written_tensor(node)
        while view is not None and view.op == "call_function":
            if view.target in (aten.unfold.default, aten.diagonal.default):
                name = view.target.__name__.partition(".")[0]
                raise ExportError(
                    f"{beginning(node)}writes into what {name} returns, which torch's exporter cannot translate",
                    hint=_INSTEAD[name],
                )
            view = viewed_tensor(view)


def check_dynamic_sizes(program: torch.export.ExportedProgram, decomposed: torch.export.ExportedProgram) -> None:
    """Checks that no dynamic size of the inputs became fixed on the way.

    Raises:
        ExportError: One did.
    """
    for before, after in zip(input_shapes(program), input_shapes(decomposed), strict=True):
        for axis, (size, left) in enumerate(zip(before, after, strict=True)):
            if isinstance(left, int) and not isinstance(size, int):
                raise ExportError(
                    f"torch fixes a dynamic size (axis {axis}) to {left} when it decomposes this model",
                    hint="declare the size fixed, or write to slices of the tensor instead of other views of it",
                )
