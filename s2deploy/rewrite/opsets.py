"""Whether a function means the same by the operators of another version.

Before: a local function that imports version 16 of the standard, in a model that imports 17. After: nothing is changed
here; a function that means the same may be written out. Requires: operators of the standard, every one of which is the
same in both versions. Source: the ONNX specification of functions, and the operator schemas of the onnx package.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import onnx_ir as ir


def means_the_same(body: ir.Function, versions: Mapping[str, int]) -> bool:
    """Whether all operators of a function are those of a model that imports operator sets in some versions."""
    imports = body.opset_imports
    return all(
        versions.get(node.domain, imports.get(node.domain)) == imports.get(node.domain)
        or (node.domain == "" and _is_same(node.op_type, imports.get("", 1), versions[""]))
        for node in body.all_nodes()
    )


def _is_same(op_type: str, one: int, other: int) -> bool:
    try:
        since = {onnx.defs.get_schema(op_type, version).since_version for version in (one, other)}
    except onnx.defs.SchemaError:
        return False
    return len(since) == 1
