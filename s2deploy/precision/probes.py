"""Runs a model on onnxruntime node by node, as it is written, and sums up what its inner values were.

Values are reduced inside the graph: `Summary` of a value is one number for its magnitude and one that is finite if
all its elements are. No inner tensor leaves the graph, so a run needs the memory of the model and little more,
however many values are looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from s2deploy.errors import ValidationError
from s2deploy.feeds import Array, Feed
from s2deploy.precision.sessions import HINT, opened

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Summary:
    """What a value was over one or more runs.

    Attributes:
        largest: Largest magnitude; 0 for an empty value, and of no meaning where not every element is finite.
        finite: Whether every element is finite.
        elements: Number of elements, the most of all runs.
    """

    largest: float
    finite: bool
    elements: int

    def merged(self, other: Summary) -> Summary:
        """Returns the summary of both runs."""
        return Summary(
            max(self.largest, other.largest), self.finite and other.finite, max(self.elements, other.elements)
        )


def run(model: ir.Model, feeds: Iterable[Feed], names: Sequence[str] = ()) -> Iterator[tuple[Feed, dict[str, Summary]]]:
    """Yields the outputs of each feed by name, and summaries of float32 values of the main graph.

    Raises:
        ValidationError: onnxruntime cannot load or run the model.
    """
    outputs = [str(value.name) for value in model.graph.outputs]
    probed, asked = _probed(model, names)
    with opened(probed) as session:
        for feed in feeds:
            arrays = _run(session, outputs + asked, feed)
            numbers = [array.item() for array in arrays[len(outputs) :]]
            found = {
                name: Summary(float(largest), bool(np.isfinite(nothing)), int(elements))
                for name, (largest, nothing, elements) in zip(
                    names, zip(*[iter(numbers)] * 3, strict=True), strict=True
                )
            }
            yield dict(zip(outputs, arrays, strict=False)), found


def summaries(model: ir.Model, names: Sequence[str], feeds: Iterable[Feed]) -> dict[str, Summary]:
    """Returns summaries, over all feeds, of float32 values of the main graph.

    Raises:
        ValidationError: onnxruntime cannot load or run the model.
    """
    all_feeds: dict[str, Summary] = {}
    for _, found in run(model, feeds, names):
        all_feeds = merged(all_feeds, found)
    return all_feeds


def merged(some: dict[str, Summary], others: dict[str, Summary]) -> dict[str, Summary]:
    """Returns the summaries of the runs of both."""
    return {name: some[name].merged(summary) if name in some else summary for name, summary in others.items()}


def values_of(model: ir.Model, names: Sequence[str], feeds: Iterable[Feed]) -> Iterator[dict[str, Array]]:
    """Yields values of the main graph, by name, for each feed.

    Raises:
        ValidationError: onnxruntime cannot load or run the model.
    """
    probed = model.clone()
    known = _by_name(probed)
    outputs = list(probed.graph.outputs)
    probed.graph.outputs.extend(known[name] for name in names if known[name] not in outputs)
    with opened(probed) as session:
        for feed in feeds:
            yield dict(zip(names, _run(session, names, feed), strict=True))


def _by_name(model: ir.Model) -> dict[str, ir.Value]:
    inner = (value for node in model.graph for value in node.outputs)
    return {str(value.name): value for value in (*model.graph.inputs, *inner)}


def _probed(model: ir.Model, names: Sequence[str]) -> tuple[ir.Model, list[str]]:
    """Returns a model that computes summaries, and the names they have, three for each value."""
    import onnx_ir as ir

    model = model.clone()
    known = _by_name(model)
    probe = _Probe(model.graph)
    asked: list[str] = []
    for name in names:
        readers = tuple(known[name].uses())
        found, same = probe.summary(known[name])
        for reader in readers:
            reader.node.replace_input_with(reader.idx, same)
        for output in found:
            output.shape = ir.Shape([])
            model.graph.outputs.append(output)
            asked.append(str(output.name))
    if names:
        model.graph.sort()
    return model, asked


class _Probe:
    """Adds nodes that sum up values to a graph."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._zero = self._constant("s2deploy/zero", np.zeros(1, np.float32))
        self._flat = self._constant("s2deploy/flat", np.array([-1], np.int64))
        self._true = self._constant("s2deploy/true", np.array(True))

    def summary(self, value: ir.Value) -> tuple[tuple[ir.Value, ir.Value, ir.Value], ir.Value]:
        """Returns the parts of a value's summary, and the value once more for those that read it.

        That is the value times a one that waits for the summary: onnxruntime would compute the summaries at the end
        otherwise, and hold every value until then.
        """
        import onnx_ir as ir

        magnitude = self._add("Concat", self._add("Reshape", self._add("Abs", value), self._flat), self._zero, axis=0)
        largest = self._add("ReduceMax", magnitude, keepdims=0)
        # 0 * x is 0, or not a number where x is not finite, which a sum keeps and a maximum may not
        nothing = self._add("ReduceSum", self._add("Mul", magnitude, self._zero), keepdims=0)
        elements = self._add("Size", value, kind=ir.DataType.INT64)
        done = self._add("Add", self._add("Add", nothing, largest), self._add("Cast", elements, to=1))
        truth = self._add("Cast", done, kind=ir.DataType.BOOL, to=int(ir.DataType.BOOL))
        one = self._add("Cast", self._add("Or", truth, self._true, kind=ir.DataType.BOOL), to=1)
        same = self._add("Mul", value, one)
        same.shape = value.shape
        return (largest, nothing, elements), same

    def _add(self, operator: str, *inputs: ir.Value, kind: ir.DataType | None = None, **attributes: int) -> ir.Value:
        import onnx_ir as ir

        output = ir.Value(
            name=f"s2deploy/{len(self._graph)}", type=ir.TensorType(ir.DataType.FLOAT if kind is None else kind)
        )
        self._graph.append(
            ir.node(operator, list(inputs), attributes=attributes, outputs=[output], name=f"{output.name}/{operator}")
        )
        return output

    def _constant(self, name: str, array: Array) -> ir.Value:
        import onnx_ir as ir

        value = ir.val(name, const_value=ir.Tensor(array, name=name))
        self._graph.register_initializer(value)
        return value


def _run(session: Any, names: Sequence[str], feed: Feed) -> list[Array]:
    wide = {value.name for value in session.get_inputs() if value.type == "tensor(float)"}
    feed = {name: array.astype(np.float32, copy=False) if name in wide else array for name, array in feed.items()}
    try:
        return list(session.run(list(names), feed))
    except Exception as error:
        raise ValidationError(f"onnxruntime cannot run the model: {error}", hint=HINT) from error
