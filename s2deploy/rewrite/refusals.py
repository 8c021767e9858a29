"""Why a node is not data movement, or was left alone although it looked like it."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

BROKE_DOWN = "understanding it broke down, which is a fault of s2deploy"


class NotMovementError(Exception):
    """The node is not data movement; the message says why, in the words of a refusal."""


@dataclass(frozen=True)
class Refusal:
    """A node that looked like movement and was left alone.

    Attributes:
        node: The node's name, or that of its output where it has none.
        op_type: Its operator.
        reason: Why, and where possible what would change it.
    """

    node: str
    op_type: str
    reason: str

    @classmethod
    def of(cls, node: ir.Node, reason: str) -> Refusal:
        """Returns the refusal of a node."""
        return cls(label(node), node.op_type, reason)


def label(node: ir.Node) -> str:
    """Returns what to call a node: its name, or that of its output where it has none, as many files do."""
    return node.name or node.outputs[0].name or ""
