"""What operators cost on a runtime, to choose between graphs that compute the same.

Only ratios matter. `ONNXRUNTIME_CPU` is nanoseconds that ``benchmarks/runtime_costs.py`` measured, except for `reread`:
operators that run alone do not show it; it is by how much whole S2 blocks of 96x56x56 and 4x192x32x32 got faster.
`COUNTING` is not measured: an element that an operator writes costs one, whatever the operator, and no order of axes
and no form of a product is faster than another, so what moves the least wins. That is right wherever memory limits, and
as much as can be said of TensorRT without measuring it: it fuses arithmetic, picks kernels and formats by itself, and
has to run what is left of Transposes, Slices and Concats. Starting one more small kernel takes a GPU of 200 GB/s
about as long as moving 100,000 elements, if that is 2 microseconds. A Gather reads through its indices and is fused
with nothing: it is taken for as dear as moving twice and a half, so that it stands for many small pieces alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from s2deploy.specs import Runtime

Sizes = Sequence[int]


@dataclass(frozen=True)
class PerElement:
    """What an element costs in a tensor that fits into the nearest caches, and in one that does not.

    Attributes:
        near_ns: In a small tensor.
        far_ns: In one of `FAR` elements or more; in between it grows in proportion.
    """

    near_ns: float
    far_ns: float

    def of(self, elements: int) -> float:
        """Returns the cost of all elements of a tensor."""
        return elements * (self.near_ns + (self.far_ns - self.near_ns) * min(elements / FAR, 1.0))


FAR = 1 << 20


@dataclass(frozen=True)
class RuntimeCosts:
    """The cost of operators on one runtime, in nanoseconds of one thread, elements being float32.

    Attributes:
        node_ns: Starting an operator.
        view_ns: Starting one that moves nothing, such as Reshape.
        gather_ns: Starting a Gather.
        small_ns: An operator on a small tensor that is not there without it.
        run_ns: A contiguous run of elements.
        padded_run_ns: A run along the last axis of what Pad gives.
        gathered_run_ns: A run that Gather copies.
        elementwise: An element of arithmetic.
        moved: An element that Slice, Concat, Split or Pad copies.
        picked: One that Gather copies.
        reread: What reading an element costs more some operators after it was written than right after.
        transposed: An element that Transpose moves.
        normalized: An element of a normalization.
        softmax_across: What an element of a Softmax along another axis than the last costs more.
        summed_within_ns: An element that is reduced over the last axes.
        summed_across_ns: An element that is reduced over others.
        product_ns: A multiply-add of ``MatMul(x, W)``.
        left_factor: How much longer ``MatMul(W, x)`` takes.
        conv_factor: How much longer a Conv of size 1 takes, apart from its elements.
        conv_element_ns: An element that such a Conv reads or writes.
        fuses_bias: Whether a MatMul adds a bias for nothing, as a Conv does.
    """

    node_ns: float
    view_ns: float
    gather_ns: float
    small_ns: float
    run_ns: float
    padded_run_ns: float
    gathered_run_ns: float
    elementwise: PerElement
    moved: PerElement
    picked: PerElement
    reread: PerElement
    transposed: PerElement
    normalized: PerElement
    softmax_across: PerElement
    summed_within_ns: float
    summed_across_ns: float
    product_ns: float
    left_factor: float
    conv_factor: float
    conv_element_ns: float
    fuses_bias: bool

    def arithmetic(self, elements: int, run: int) -> float:
        """Returns the cost of arithmetic whose operands are contiguous, or repeat, over runs of some length."""
        return self.node_ns + self.elementwise.of(elements) + elements / max(run, 1) * self.run_ns

    def movement(self, elements: int, run: int) -> float:
        """Returns the cost of copying elements in contiguous runs of some length."""
        return self.node_ns + self.moved.of(elements) + elements / max(run, 1) * self.run_ns

    def pad(self, elements: int, run: int) -> float:
        """Returns the cost of a Pad whose last axis has some length."""
        return self.node_ns + self.moved.of(elements) + elements / max(run, 1) * self.padded_run_ns

    def gathered(self, elements: int, run: int) -> float:
        """Returns the cost of a Gather whose rows are contiguous over some length."""
        return self.gather_ns + self.picked.of(elements) + elements / max(run, 1) * self.gathered_run_ns

    def reduction(self, elements: int, *, within: bool) -> float:
        """Returns the cost of a reduction, over the last axes where `within`."""
        return self.node_ns + elements * (self.summed_within_ns if within else self.summed_across_ns)

    def normalization(self, elements: int) -> float:
        """Returns the cost of a normalization."""
        return self.node_ns + self.normalized.of(elements)

    def softmax(self, elements: int, *, within: bool) -> float:
        """Returns the cost of a Softmax, along the last axis where `within`."""
        return self.normalization(elements) + (0.0 if within else self.softmax_across.of(elements))

    def transposition(self, sizes: Sizes, perm: Sequence[int]) -> float:
        """Returns the cost of a Transpose of a tensor; one that moves axes of size 1 alone moves nothing."""
        moved = [axis for axis in perm if sizes[axis] != 1]
        if moved == sorted(moved):
            return self.view_ns
        return self.node_ns + self.transposed.of(math.prod(sizes))

    def linear(self, form: str, positions: int, inputs: int, outputs: int, *, bias: bool) -> float:
        """Returns the cost of a linear map.

        Args:
            form: One of `layout_linear.forms`.
            positions: How many vectors are mapped.
            inputs: Their length.
            outputs: The length of the results.
            bias: Whether a bias is added.
        """
        product = positions * inputs * outputs * self.product_ns
        if form == "Conv":
            return self.node_ns + product * self.conv_factor + positions * (inputs + outputs) * self.conv_element_ns
        total = self.node_ns + product * (1.0 if form == "MatMul" else self.left_factor)
        if bias and not self.fuses_bias:
            total += self.arithmetic(positions * outputs, outputs if form == "MatMul" else positions)
        return total + (2 * self.view_ns if form == "left MatMul of rows" else 0)


ONNXRUNTIME_CPU = RuntimeCosts(
    node_ns=3000,
    view_ns=3000,
    gather_ns=3000,
    small_ns=3000,
    run_ns=5,
    padded_run_ns=28,
    gathered_run_ns=8,
    elementwise=PerElement(0.8, 0.8),
    moved=PerElement(0.55, 0.6),
    picked=PerElement(0.55, 0.6),
    reread=PerElement(0.0, 0.25),
    transposed=PerElement(1.1, 2.0),
    normalized=PerElement(1.1, 1.1),
    softmax_across=PerElement(3.0, 4.0),
    summed_within_ns=0.4,
    summed_across_ns=1.4,
    product_ns=0.019,
    left_factor=1.25,
    conv_factor=1.02,
    conv_element_ns=0.4,
    fuses_bias=False,
)
COUNTING = RuntimeCosts(
    node_ns=1000,
    view_ns=1000,
    gather_ns=4000,
    small_ns=100_000,
    run_ns=0,
    padded_run_ns=0,
    gathered_run_ns=0,
    elementwise=PerElement(1, 1),
    moved=PerElement(1, 1),
    picked=PerElement(2.5, 2.5),
    reread=PerElement(0, 0),
    transposed=PerElement(1, 1),
    normalized=PerElement(1, 1),
    softmax_across=PerElement(0, 0),
    summed_within_ns=1,
    summed_across_ns=1,
    product_ns=0,
    left_factor=1,
    conv_factor=1,
    conv_element_ns=0,
    fuses_bias=True,
)
COSTS: Mapping[Runtime, tuple[RuntimeCosts, ...]] = {
    Runtime.ONNXRUNTIME_CPU: (ONNXRUNTIME_CPU,),
    Runtime.TENSORRT: (COUNTING,),
    Runtime.PORTABLE: (COUNTING, ONNXRUNTIME_CPU),
}
"""What each runtime is judged by. The graph that is cheapest by the first is taken unless one of the others finds it
`WORSE` than what it would have taken itself."""
WORSE = 1.03
DEFAULT_RUNTIME = Runtime.PORTABLE
