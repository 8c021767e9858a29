"""The schemas of the operators: names, types, attributes, shape rules.

Every attribute is an integer or a list of integers, because that is what ONNX files, TensorRT's plugin fields and
serialized plans all carry unchanged. Every operator says its shape rule; `Op.output_shape` checks and applies it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from s2deploy.errors import RewriteError
from s2deploy.ops.configuration import MAX_EXTENT, Configuration
from s2deploy.ops.reference import Array, shift_sum, shift_sum_pool, spatial_shift

DOMAIN = "s2deploy"
"""The domain of the nodes and the namespace of the plugins."""

VERSION = 1
"""The version of the domain and of the plugins."""

TYPES = ("float32", "float16", "bfloat16")
"""What the type variable ``T`` stands for."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Tensor:
    """An input or output: its name and its type, which is ``T`` or one of `TYPES`."""

    name: str
    type: str


@dataclass(frozen=True)
class Attribute:
    """An attribute: a list of integers where `default` is None and `is_list` is set, otherwise one integer.

    Attributes:
        name: The name in ONNX and in a plugin's fields.
        is_list: Whether it is a list of integers.
        default: What it is where a node leaves it out; None where it may not.
    """

    name: str
    is_list: bool = False
    default: int | None = None


GROUPS = Attribute("groups", is_list=True)
CHANNELS_LAST = Attribute("channels_last", default=0)
BORDER = Attribute("border", default=0)
BRANCHES = Attribute("branches")


@dataclass(frozen=True)
class Op:
    """One operator.

    Attributes:
        name: The op type of a node and the name of the plugin.
        inputs: Its inputs in order.
        output: Its only output.
        attributes: What a node may say.
        shape_rule: The shape rule in words.
        reference: The definition in numpy: a configuration and the inputs to the output.
    """

    name: str
    inputs: tuple[Tensor, ...]
    output: Tensor
    attributes: tuple[Attribute, ...]
    shape_rule: str
    reference: Callable[..., Array]

    def encode(self, configuration: Configuration) -> dict[str, int | list[int]]:
        """Returns the attributes of a node that means `configuration`."""
        return configuration.encode(attribute.name for attribute in self.attributes)

    def decode(self, attributes: Mapping[str, int | Sequence[int]]) -> Configuration:
        """Reads and checks the attributes of a node.

        Raises:
            RewriteError: One is missing, unknown to this operator, or not valid.
        """
        names = {attribute.name for attribute in self.attributes}
        for name in sorted(set(attributes) - names):
            raise RewriteError(f"{self.name} has no attribute {name!r}", hint=f"it has {', '.join(sorted(names))}")
        for attribute in self.attributes:
            if attribute.default is None and attribute.name not in attributes:
                raise RewriteError(f"{self.name} lacks the attribute {attribute.name!r}", hint="export the model again")
        return Configuration.decode(attributes)

    def output_shape(self, configuration: Configuration, *shapes: Shape) -> Shape:
        """Applies the shape rule.

        Args:
            configuration: What the node's attributes say.
            shapes: The shape of every input.

        Raises:
            RewriteError: The inputs do not fit the rule.
        """
        if len(shapes) != len(self.inputs) or len(shapes[0]) != 4:
            raise RewriteError(f"{self.name} takes {self.shape_rule}", hint="check the node's inputs")
        axis = 3 if configuration.channels_last else 1
        x, last = shapes[0], configuration.shifts[-1].end
        if x[axis] < last or x[axis] % configuration.branches or max(x) > MAX_EXTENT:
            raise RewriteError(
                f"{self.name} on {'x'.join(map(str, x))} with groups up to channel {last} and "
                f"{configuration.branches} branches",
                hint=f"it takes {self.shape_rule}, no axis beyond {MAX_EXTENT}",
            )
        each = x[axis] // configuration.branches
        if len(shapes) == 2 and shapes[1] != (x[0], configuration.branches, each):
            raise RewriteError(f"{self.name} with weights {shapes[1]}", hint=f"it takes {self.shape_rule}")
        return (x[0], each) if self is SHIFT_SUM_POOL else (*x[:axis], each, *x[axis + 1 :])


SPATIAL_SHIFT = Op(
    "SpatialShift",
    (Tensor("x", "T"),),
    Tensor("y", "T"),
    (GROUPS, CHANNELS_LAST, BORDER),
    "x: N x C x H x W (N x H x W x C), gives the same shape",
    spatial_shift,
)
SHIFT_SUM = Op(
    "ShiftSum",
    (Tensor("x", "T"), Tensor("w", "T")),
    Tensor("y", "T"),
    (GROUPS, CHANNELS_LAST, BRANCHES),
    "x: N x K C x H x W (N x H x W x K C), w: N x K x C, gives N x C x H x W (N x H x W x C)",
    shift_sum,
)
SHIFT_SUM_POOL = Op(
    "ShiftSumPool",
    (Tensor("x", "T"),),
    Tensor("s", "float32"),
    (GROUPS, CHANNELS_LAST, BRANCHES),
    "x: N x K C x H x W (N x H x W x K C), gives N x C",
    shift_sum_pool,
)
OPS = (SPATIAL_SHIFT, SHIFT_SUM, SHIFT_SUM_POOL)
"""Every operator of the domain."""


def op_named(domain: str, name: str) -> Op | None:
    """Returns the operator that a node or a function of a file is of; None where it is of none.

    Args:
        domain: Its domain.
        name: Its name: the operator's, in a file with several configurations with a number behind: ``ShiftSum_2``.
    """
    base, separator, number = name.partition("_")
    found = next((op for op in OPS if op.name == base), None)
    return found if domain == DOMAIN and (not separator or number.isdigit()) else None
