"""Why a node is not data movement, or was left alone although it looked like it."""

from __future__ import annotations

from dataclasses import dataclass

BROKE_DOWN = "understanding it broke down, which is a fault of s2deploy"


class NotMovementError(Exception):
    """The node is not data movement; the message says why, in the words of a refusal."""


@dataclass(frozen=True)
class Refusal:
    """A node that looked like movement and was left alone.

    Attributes:
        node: The node's name.
        op_type: Its operator.
        reason: Why, and where possible what would change it.
    """

    node: str
    op_type: str
    reason: str
