"""Measures what operators cost on onnxruntime, for `s2deploy/rewrite/runtime_costs.py`.

Run ``python benchmarks/runtime_costs.py [--rounds N]``. Every operator runs alone, on one thread, with inputs and
outputs that stay where they are; all of them run once per round, so that a disturbance meets all alike, and the
fastest round counts, in CPU time of the thread. What a run costs that computes nothing is taken off.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnxruntime
from onnx import numpy_helper, parser

SIZES = ((96, 56, 1), (384, 14, 1), (512, 7, 1), (192, 32, 4), (64, 28, 1), (768, 7, 4))
"""Channels, height and width, batch."""
CHAIN = 64
PASSING = 3 << 20
"""Bytes that are touched before every run: in a model, other tensors have gone through the caches meanwhile."""


@dataclass(frozen=True)
class Case:
    """One operator at one size.

    Attributes:
        quantity: What its time tells.
        signature: Inputs and outputs as ONNX text.
        body: Nodes as ONNX text.
        count: By how many elements or multiply-adds the time is divided.
        weights: Initializers.
        alike: The quantity at the same size whose time is taken off first.
    """

    quantity: str
    size: str
    signature: str
    body: str
    count: int
    weights: dict[str, np.ndarray] = field(default_factory=dict)


def tensor(name: str, *shape: int) -> str:
    """Returns the declaration of a float tensor."""
    return f"(float[{','.join(map(str, shape))}] {name})"


def cases() -> Iterator[Case]:
    """Yields everything that is measured."""
    chain = " ".join(f"t{i + 1} = Relu(t{i})" for i in range(CHAIN))
    yield Case("nothing", "", "(float[8] x) => (float[8] y)", "y = Relu(x)", 1)
    yield Case("node", "", f"(float[8] t0) => (float[8] t{CHAIN})", chain, CHAIN)
    views = " ".join(f"t{i + 1} = Reshape(t{i}, s{i % 2})" for i in range(CHAIN))
    shapes = {"s0": np.array([4, 2], np.int64), "s1": np.array([8], np.int64)}
    yield Case("view", "", f"(float[8] t0) => (float[8] t{CHAIN})", views, CHAIN, shapes)
    slices = " ".join(f"t{i + 1} = Slice(t{i}, b, e, a)" for i in range(CHAIN))
    bounds = {"b": np.array([0], np.int64), "e": np.array([8], np.int64), "a": np.array([0], np.int64)}
    yield Case("slice node", "", f"(float[8] t0) => (float[8] t{CHAIN})", slices, CHAIN, bounds)
    joins = " ".join(f"t{i + 1} = Concat<axis = 0>(t{i}, z)" for i in range(CHAIN))
    yield Case(
        "concat node",
        "",
        f"(float[8] t0) => (float[{8 + CHAIN}] t{CHAIN})",
        joins,
        CHAIN,
        {"z": np.zeros(1, np.float32)},
    )
    for c, s, n in SIZES:
        yield from sized(c, s, n)


def sized(c: int, s: int, n: int) -> Iterator[Case]:
    """Yields what is measured at one size."""
    size, count = f"{c}x{s}x{s}x{n}", n * c * s * s
    first, last = tensor("x", n, c, s, s), tensor("x", n, s, s, c)
    out_first, out_last = tensor("y", n, c, s, s), tensor("y", n, s, s, c)
    two = f"(float[{n},{c},{s},{s}] x, float[{n},{c},{s},{s}] z)"
    rng = np.random.default_rng(0)
    bias = rng.standard_normal(c).astype(np.float32)
    yield Case("add", size, f"{two} => {out_first}", "y = Add(x, z)", count)
    yield Case(
        "add channels first", size, f"{first} => {out_first}", "y = Add(x, b)", count, {"b": bias.reshape(c, 1, 1)}
    )
    yield Case("add channels last", size, f"{last} => {out_last}", "y = Add(x, b)", count, {"b": bias})
    yield Case(
        "mul attention first",
        size,
        f"(float[{n},{c},{s},{s}] x, float[{n},{c},1,1] z) => {out_first}",
        "y = Mul(x, z)",
        count,
    )
    yield Case(
        "mul attention last",
        size,
        f"(float[{n},{s},{s},{c}] x, float[{n},1,1,{c}] z) => {out_last}",
        "y = Mul(x, z)",
        count,
    )
    tokens = f"(float[{n},{s},{c}] x) => (float[{n},{s},{c}] y)"
    yield Case("softmax last", size, tokens, "y = Softmax<axis = 2>(x)", n * s * c)
    yield Case("softmax across", size, tokens, "y = Softmax<axis = 1>(x)", n * s * c)
    yield Case("gelu", size, f"{first} => {out_first}", "y = Gelu(x)", count)
    yield Case("transpose to first", size, f"{last} => {out_first}", "y = Transpose<perm = [0, 3, 1, 2]>(x)", count)
    yield Case("transpose to last", size, f"{first} => {out_last}", "y = Transpose<perm = [0, 2, 3, 1]>(x)", count)
    yield Case(
        "sum first",
        size,
        f"{first} => (float[{n},{c}] y)",
        "y = ReduceSum<keepdims = 0>(x, a)",
        count,
        {"a": np.array([2, 3], np.int64)},
    )
    yield Case(
        "sum last",
        size,
        f"{last} => (float[{n},{c}] y)",
        "y = ReduceSum<keepdims = 0>(x, a)",
        count,
        {"a": np.array([1, 2], np.int64)},
    )
    yield Case("norm", size, f"{last} => {out_last}", "y = LayerNormalization(x, b, b)", count, {"b": bias})
    quarter = c // 4
    bounds = {"b": np.array([0], np.int64), "e": np.array([quarter], np.int64)}
    part = n * quarter * s * s
    yield Case(
        "slice channels first",
        size,
        f"{first} => {tensor('y', n, quarter, s, s)}",
        "y = Slice(x, b, e, a)",
        part,
        bounds | {"a": np.array([1], np.int64)},
    )
    yield Case(
        "slice channels last",
        size,
        f"{last} => {tensor('y', n, s, s, quarter)}",
        "y = Slice(x, b, e, a)",
        part,
        bounds | {"a": np.array([3], np.int64)},
    )
    rows = {"b": np.array([0], np.int64), "e": np.array([s - 1], np.int64)}
    yield Case(
        "slice rows first",
        size,
        f"{first} => {tensor('y', n, c, s - 1, s)}",
        "y = Slice(x, b, e, a)",
        n * c * s * (s - 1),
        rows | {"a": np.array([2], np.int64)},
    )
    yield Case(
        "slice columns first",
        size,
        f"{first} => {tensor('y', n, c, s, s - 1)}",
        "y = Slice(x, b, e, a)",
        n * c * s * (s - 1),
        rows | {"a": np.array([3], np.int64)},
    )
    four = ", ".join(f"float[{n},{quarter},{s},{s}] x{i}" for i in range(4))
    yield Case(
        "concat channels first",
        size,
        f"({four}) => {tensor('y', n, 4 * quarter, s, s)}",
        "y = Concat<axis = 1>(x0, x1, x2, x3)",
        4 * part,
    )
    four = ", ".join(f"float[{n},{s},{s},{quarter}] x{i}" for i in range(4))
    yield Case(
        "concat channels last",
        size,
        f"({four}) => {tensor('y', n, s, s, 4 * quarter)}",
        "y = Concat<axis = 3>(x0, x1, x2, x3)",
        4 * part,
    )
    shift = {
        "p": np.array([0, 0, 1, 0, 0, quarter - c, -1, 0], np.int64),
        "b": np.array([0, 0], np.int64),
        "e": np.array([quarter, 1], np.int64),
        "f": np.array([quarter, s - 1], np.int64),
        "a": np.array([1, 2], np.int64),
    }
    yield Case(
        "shift by pad", size, f"{first} => {tensor('y', n, quarter, s, s)}", 'y = Pad<mode = "edge">(x, p)', part, shift
    )
    yield Case(
        "shift by slices",
        size,
        f"{first} => {tensor('y', n, quarter, s, s)}",
        "u = Slice(x, b, e, a) v = Slice(x, b, f, a) y = Concat<axis = 2>(u, v)",
        part,
        shift,
    )
    columns = {
        "p": np.array([0, 0, 0, 1, 0, quarter - c, 0, -1], np.int64),
        "b": np.array([0, 0], np.int64),
        "e": np.array([quarter, 1], np.int64),
        "f": np.array([quarter, s - 1], np.int64),
        "a": np.array([1, 3], np.int64),
    }
    yield Case(
        "shift columns by pad",
        size,
        f"{first} => {tensor('y', n, quarter, s, s)}",
        'y = Pad<mode = "edge">(x, p)',
        part,
        columns,
    )
    yield Case(
        "shift columns by slices",
        size,
        f"{first} => {tensor('y', n, quarter, s, s)}",
        "u = Slice(x, b, e, a) v = Slice(x, b, f, a) y = Concat<axis = 3>(u, v)",
        part,
        columns,
    )
    last_rows = {
        "p": np.array([0, 1, 0, 0, 0, -1, 0, quarter - c], np.int64),
        "b": np.array([0, 0], np.int64),
        "e": np.array([quarter, 1], np.int64),
        "f": np.array([quarter, s - 1], np.int64),
        "a": np.array([3, 1], np.int64),
    }
    yield Case(
        "shift last by pad",
        size,
        f"{last} => {tensor('y', n, s, s, quarter)}",
        'y = Pad<mode = "edge">(x, p)',
        part,
        last_rows,
    )
    yield Case(
        "shift last by slices",
        size,
        f"{last} => {tensor('y', n, s, s, quarter)}",
        "u = Slice(x, b, e, a) v = Slice(x, b, f, a) y = Concat<axis = 1>(u, v)",
        part,
        last_rows,
    )
    for axis, along in ((2, "rows"), (3, "columns")):
        order = np.roll(np.arange(s), -3)
        cuts = {"o": order, "b": np.array([3]), "e": np.array([s]), "f": np.array([0]), "a": np.array([axis])}
        rolled = f"u = Slice(x, b, e, a) v = Slice(x, f, b, a) y = Concat<axis = {axis}>(u, v)"
        yield Case(f"roll {along} by slices", size, f"{first} => {out_first}", rolled, count, cuts)
        yield Case(
            f"roll {along} by gather", size, f"{first} => {out_first}", f"y = Gather<axis = {axis}>(x, o)", count, cuts
        )
    for m in (c, 3 * c):
        yield from products(c, m, s, n, rng)


def products(k: int, m: int, s: int, n: int, rng: np.random.Generator) -> Iterator[Case]:
    """Yields the forms of one linear map, with and without bias."""
    size, count = f"{k}->{m}x{s}x{s}x{n}", n * s * s * k * m
    w, b = rng.standard_normal((k, m)).astype(np.float32), rng.standard_normal(m).astype(np.float32)
    last = f"{tensor('x', n, s, s, k)} => {tensor('y', n, s, s, m)}"
    first = f"{tensor('x', n, k, s, s)} => {tensor('y', n, m, s, s)}"
    rows = f"{tensor('x', n, k, s * s)} => {tensor('y', n, m, s * s)}"
    conv = w.T.reshape(m, k, 1, 1).copy()
    yield Case("MatMul", size, last, "y = MatMul(x, w)", count, {"w": w})
    yield Case("MatMul, bias", size, last, "a = MatMul(x, w) y = Add(a, b)", count, {"w": w, "b": b})
    yield Case("left MatMul", size, rows, "y = MatMul(w, x)", count, {"w": w.T.copy()})
    yield Case(
        "left MatMul, bias",
        size,
        rows,
        "a = MatMul(w, x) y = Add(a, b)",
        count,
        {"w": w.T.copy(), "b": b.reshape(m, 1)},
    )
    yield Case("Conv", size, first, "y = Conv(x, w)", count, {"w": conv})
    yield Case("Conv, bias", size, first, "y = Conv(x, w, b)", count, {"w": conv, "b": b})


def runner(case: Case) -> Callable[[], None]:
    """Returns a function that runs a case."""
    model = parser.parse_model(f'<ir_version: 10, opset_import: ["": 20]> g {case.signature} {{ {case.body} }}')
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in case.weights.items())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if case.quantity in ("node", "view", "slice node", "concat node"):
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feed = {value.name: rng.standard_normal(value.shape).astype(np.float32) for value in session.get_inputs()}
    binding = session.io_binding()
    for name, array in feed.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
    for value, array in zip(session.get_outputs(), session.run(None, feed), strict=True):
        binding.bind_ortvalue_output(value.name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
    return lambda: session.run_with_iobinding(binding)


def measure(found: Sequence[Case], rounds: int) -> list[float]:
    """Returns the fastest time of each case in nanoseconds of CPU time."""
    fastest = [math.inf] * len(found)
    passing = np.zeros(PASSING // 4, np.float32)
    runners = [runner(case) for case in found]
    for _ in range(rounds):
        for index, run in enumerate(runners):
            passing += 1.0
            runners[0]()
            started = time.thread_time_ns()
            run()
            fastest[index] = min(fastest[index], time.thread_time_ns() - started)
    return fastest


def main() -> None:
    """Prints nanoseconds per element or multiply-add, size by size, and their medians."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=30)
    found = list(cases())
    times = measure(found, arguments.parse_args().rounds)
    table: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for case, nanoseconds in zip(found, times, strict=True):
        alone = 0.0 if case.quantity == "nothing" else times[0]
        table[case.quantity].append((case.size, (nanoseconds - alone) / case.count))
    for quantity, rows in table.items():
        median = statistics.median(value for _, value in rows)
        print(f"{quantity:<24}{median:>10.3f}   " + "  ".join(f"{value:.3f}" for size, value in rows))
    print("sizes:", "  ".join(size for size, _ in table["add"]))


if __name__ == "__main__":
    main()
