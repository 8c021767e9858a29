"""Operators of the plugins as the parsers of TensorRT find them: nodes without functions, with their plugin spelt out.

Before: nodes of domain `s2deploy.ops.DOMAIN`, each with a local function, which would win over a plugin.
After: the same nodes by the operators' names, with the attributes ``plugin_namespace`` and ``plugin_version``; no
functions.
Refused: nothing.
Preserves: names, shapes, dtypes; the values are what the plugins compute, which `s2deploy.ops` defines.
Source: TensorRT's parsers up to 10.1 take the namespace from the attribute alone, later ones from the domain as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from s2deploy.ops import DOMAIN, VERSION, op_named

if TYPE_CHECKING:
    import onnx_ir as ir


def as_plugins(model: ir.Model) -> None:
    """Drops the functions of the operators; the model is changed."""
    import onnx_ir as ir

    for node in model.graph.all_nodes():
        op = op_named(node.domain, node.op_type)
        if op is not None:
            node.op_type = op.name
            node.attributes.add(ir.AttrString("plugin_namespace", DOMAIN))
            node.attributes.add(ir.AttrString("plugin_version", str(VERSION)))
    for name in [name for name, function in model.functions.items() if function.domain == DOMAIN]:
        del model.functions[name]
