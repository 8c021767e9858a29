"""Mutations of the wiring of a graph: nodes, values, inputs, outputs, subgraphs and functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

_LARGEST = (1 << 63) - 1
_MOVEMENT = (
    "Slice", "Concat", "Transpose", "Reshape", "Pad", "Gather", "ScatterND", "ScatterElements", "Expand", "Split",
    "Squeeze", "Unsqueeze", "Identity", "Where", "Tile", "Flatten", "Shape", "Cast", "Neg", "Add", "Mul", "Div", "Mod",
    "Sub", "Range", "ConstantOfShape", "NonZero", "GatherND", "GatherElements", "ReduceSum", "ReduceProd", "Max",
    "Min", "Equal", "Less", "Not", "And", "Size", "CastLike", "DepthToSpace", "Relu", "MatMul", "Softmax", "Resize",
    "Unknown", "SequenceAt", "SplitToSequence", "If", "Loop",
)  # fmt: skip


def integer(rng: Random, old: int) -> int:
    """Returns another integer near an old one, or one at an edge."""
    near = [old + 1, old - 1, -old, old * 2, 0, 1, 2, -1, -2]
    edges = [_LARGEST, -_LARGEST - 1, -_LARGEST, 1 << 31, (1 << 31) - 1, -(1 << 31), 1 << 62, 1000, -1000]
    chosen = rng.choice(near if rng.random() < 0.75 else edges)
    return max(-_LARGEST - 1, min(_LARGEST, chosen))


def integers(rng: Random, old: list[int]) -> list[int]:
    """Returns a list of integers changed in one place, in order or in length."""
    action = rng.random()
    if not old or action < 0.1:
        return [*old, integer(rng, 1)]
    if action < 0.2:
        return old[:-1]
    if action < 0.4:
        return rng.sample(old, len(old))
    position = rng.randrange(len(old))
    return [integer(rng, n) if i == position else n for i, n in enumerate(old)]


def every_node(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yields the nodes of a graph and its subgraphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.type == AttributeProto.GRAPH else ()), *attribute.graphs):
                yield from every_node(inner)


def values(graph: onnx.GraphProto) -> Iterator[str]:
    """Yields the names of all values of a graph, in the order they come to exist."""
    yield from (value.name for value in graph.input)
    yield from (tensor.name for tensor in graph.initializer)
    yield from (name for node in graph.node for name in node.output)


def rewire(rng: Random, model: onnx.ModelProto) -> None:
    """Makes a node, seldom one in front of it, read another value."""
    nodes = [node for node in model.graph.node if node.input]
    node = rng.choice(nodes)
    known = list(values(model.graph))
    if rng.random() < 0.9:
        known = [name for name in known if name not in _later(model.graph, node)]
    node.input[rng.randrange(len(node.input))] = rng.choice(known)


def swap_inputs(rng: Random, model: onnx.ModelProto) -> None:
    """Exchanges two inputs of a node."""
    node = rng.choice([node for node in every_node(model.graph) if len(node.input) > 1])
    a, b = rng.sample(range(len(node.input)), 2)
    node.input[a], node.input[b] = node.input[b], node.input[a]


def input_list(rng: Random, model: onnx.ModelProto) -> None:
    """Leaves out, empties, repeats or invents an input, or empties an output."""
    node = rng.choice([node for node in every_node(model.graph) if node.input])
    action = rng.randrange(5)
    if action == 0:
        node.input[rng.randrange(len(node.input))] = ""
    elif action == 1:
        node.input.pop()
    elif action == 2:
        node.input.append(rng.choice(list(node.input)))
    elif action == 3:
        node.input[rng.randrange(len(node.input))] = "nowhere"
    else:
        node.output[rng.randrange(len(node.output))] = ""


def duplicate(rng: Random, model: onnx.ModelProto) -> None:
    """Computes something twice and lets some readers read the copy."""
    position = rng.randrange(len(model.graph.node))
    copy = onnx.NodeProto()
    copy.CopyFrom(model.graph.node[position])
    renamed = {name: f"{name}_copy{rng.randrange(100)}" for name in copy.output if name}
    copy.output[:] = [renamed.get(name, "") for name in copy.output]
    _insert(model.graph, position, copy)
    for node in list(model.graph.node)[position + 2 :]:
        node.input[:] = [renamed.get(name, name) if rng.random() < 0.5 else name for name in node.input]


def remove(rng: Random, model: onnx.ModelProto) -> None:
    """Removes a node; its readers read its first input, seldom nothing that exists."""
    node = rng.choice(model.graph.node)
    first = node.input[0] if node.input and rng.random() < 0.9 else "nowhere"
    gone = node.output[0]
    if gone in {value.name for value in model.graph.output}:
        return
    model.graph.node.remove(node)
    for other in every_node(model.graph):
        other.input[:] = [first if name == gone else name for name in other.input]


def operator(rng: Random, model: onnx.ModelProto) -> None:
    """Makes a node another operator, or one of another domain."""
    node = rng.choice(list(every_node(model.graph)))
    if rng.random() < 0.85:
        node.op_type = rng.choice(_MOVEMENT)
    else:
        node.domain = rng.choice(["ai.onnx", "com.microsoft", "other", "ai.onnx.ml"])


def insert(rng: Random, model: onnx.ModelProto) -> None:
    """Puts a movement or an arithmetic node between a value and its readers."""
    graph = model.graph
    position = rng.randrange(len(graph.node) + 1)
    known = [*(value.name for value in graph.input), *(n for node in list(graph.node)[:position] for n in node.output)]
    old = rng.choice([name for name in known if name])
    new = f"{old}_{rng.randrange(1000)}"

    def ints(*numbers: int) -> str:
        name = f"k{rng.randrange(10**9)}"
        graph.initializer.append(numpy_helper.from_array(np.array(numbers, np.int64), name))
        return name

    axis = rng.choice([0, 1, 2, -1])
    a, b, step = rng.randrange(-3, 4), rng.choice([-1, 1, 2, 3, _LARGEST]), rng.choice([1, 1, 1, 2, -1])
    chosen = rng.randrange(9)
    if chosen == 0:
        node = helper.make_node("Slice", [old, ints(a), ints(b), ints(axis), ints(step)], [new])
    elif chosen == 1:
        node = helper.make_node("Transpose", [old], [new], **({"perm": [1, 0]} if rng.random() < 0.3 else {}))
    elif chosen == 2:
        node = helper.make_node("Concat", [old, old], [new], axis=axis)
    elif chosen == 3:
        node = helper.make_node("Gather", [old, ints(*(rng.choice([0, 1, -1]) for _ in range(2)))], [new], axis=axis)
    elif chosen == 4:
        node = helper.make_node("Unsqueeze", [old, ints(axis)], [new])
    elif chosen == 5:
        node = helper.make_node(rng.choice(["Neg", "Abs", "Identity", "Relu", "Not", "Shape", "Size"]), [old], [new])
    elif chosen == 6:
        node = helper.make_node("Reshape", [old, ints(*rng.choice([(-1,), (0, -1), (1, -1), (0, 0, -1)]))], [new])
    elif chosen == 7:
        rows = ints(*range(rng.randrange(1, 3)))
        node = helper.make_node("ScatterND", [old, rows, old], [new])
    else:
        node = helper.make_node("Cast", [old], [new], to=rng.choice([1, 6, 7, 9, 10, 11]))
    _insert(graph, position, node)
    for other in list(graph.node)[position + 1 :]:
        other.input[:] = [new if name == old and rng.random() < 0.8 else name for name in other.input]
    if rng.random() < 0.3:
        graph.output.add(name=new, type=helper.make_tensor_type_proto(TensorProto.FLOAT, None))


def output_list(rng: Random, model: onnx.ModelProto) -> None:
    """Drops, repeats or adds a graph output, an input or a weight among them."""
    outputs = model.graph.output
    action = rng.randrange(4)
    if action == 0 and len(outputs) > 1:
        outputs.pop(rng.randrange(len(outputs)))
    elif action == 1:
        outputs.append(rng.choice(outputs))
    else:
        name = rng.choice(list(values(model.graph)))
        known = {value.name: value.type for value in (*model.graph.input, *model.graph.value_info)}
        outputs.add(name=name, type=known.get(name))


def input_of_weight(rng: Random, model: onnx.ModelProto) -> None:
    """Makes a weight an input with a default, or takes a weight away, or makes an input a weight."""
    tensor = rng.choice(model.graph.initializer)
    action = rng.random()
    model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    if action < 0.3:
        model.graph.initializer.remove(tensor)
    elif action < 0.4:
        model.graph.input.pop()
        model.graph.initializer.remove(tensor)


def names(rng: Random, model: onnx.ModelProto) -> None:
    """Gives two values one name, or a node or value a strange one."""
    nodes = list(every_node(model.graph))
    node = rng.choice(nodes)
    action = rng.randrange(4)
    if action == 0:
        node.output[rng.randrange(len(node.output))] = rng.choice(list(values(model.graph)))
    elif action == 1:
        node.name = rng.choice([rng.choice(nodes).name, "s2deploy_constant_0", "a b/c\n", "\u00e9"])
    else:
        old, new = (
            node.output[0],
            rng.choice(["s2deploy_constant_0", "_unknown1", "N", "val 0", "\u00e9", "x_replaced"]),
        )
        for other in every_node(model.graph):
            other.input[:] = [new if name == old else name for name in other.input]
            other.output[:] = [new if name == old else name for name in other.output]


def order(rng: Random, model: onnx.ModelProto) -> None:
    """Shuffles two nodes, which seldom leaves the graph in topological order."""
    nodes = list(model.graph.node)
    a, b = rng.sample(range(len(nodes)), 2)
    nodes[a], nodes[b] = nodes[b], nodes[a]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def branch(rng: Random, model: onnx.ModelProto) -> None:
    """Moves a node into both branches of an If, where it captures its inputs, or lets the branches differ."""
    graph = model.graph
    position = rng.randrange(len(graph.node))
    node = graph.node[position]
    if len(node.output) != 1:
        return
    condition = f"flag{rng.randrange(10**6)}"
    shadowing = rng.random() < 0.3
    branches = {}
    for name in ("then_branch", "else_branch"):
        inner = onnx.NodeProto()
        inner.CopyFrom(node)
        inner.output[0] = node.input[0] if shadowing and rng.random() < 0.2 and node.input else f"{node.output[0]}_in"
        result = helper.make_empty_tensor_value_info(inner.output[0])
        branches[name] = helper.make_graph([inner], name, [], [result])
    new = helper.make_node("If", [condition], list(node.output), **branches)
    if rng.random() < 0.5:
        graph.initializer.append(numpy_helper.from_array(np.array(rng.random() < 0.5), condition))
    else:
        graph.input.append(helper.make_tensor_value_info(condition, TensorProto.BOOL, []))
    graph.node[position].CopyFrom(new)


def function(rng: Random, model: onnx.ModelProto) -> None:
    """Makes a node the call of a local function."""
    node = rng.choice(model.graph.node)
    body = onnx.NodeProto()
    body.CopyFrom(node)
    inputs = [f"i{i}" for i in range(len(node.input))]
    outputs = [f"o{i}" for i in range(len(node.output))]
    body.input[:] = [new if old else "" for new, old in zip(inputs, node.input, strict=True)]
    body.output[:] = outputs
    opsets = list(model.opset_import)
    name = f"f{rng.randrange(1000)}"
    model.functions.append(helper.make_function("fuzz", name, inputs, outputs, [body], opsets))
    node.op_type, node.domain = name, "fuzz"
    del node.attribute[:]
    if all(entry.domain != "fuzz" for entry in model.opset_import):
        model.opset_import.add(domain="fuzz", version=1)


def fresh(rng: Random, model: onnx.ModelProto, other: onnx.ModelProto) -> None:
    """Appends another model under names of its own, its first input read from a value of this one."""
    added = onnx.compose.add_prefix_graph(other.graph, "z_")
    known = [name for name in values(model.graph) if name]
    first, *rest = added.input
    source = rng.choice(known)
    for node in every_node(added):
        node.input[:] = [source if name == first.name else name for name in node.input]
    model.graph.node.extend(added.node)
    model.graph.initializer.extend(added.initializer)
    model.graph.input.extend(rest)
    model.graph.output.extend(value for value in added.output if value.name != first.name)


MUTATIONS: tuple[Callable[[Random, onnx.ModelProto], None], ...] = (
    rewire, rewire, swap_inputs, input_list, duplicate, remove, operator, insert, insert, insert, output_list,
    input_of_weight, names, order, branch, function,
)  # fmt: skip


def _later(graph: onnx.GraphProto, node: onnx.NodeProto) -> set[str]:
    found: set[str] = set()
    seen = False
    for other in graph.node:
        seen = seen or other is node or other == node
        if seen:
            found.update(other.output)
    return found


def _insert(graph: onnx.GraphProto, position: int, node: onnx.NodeProto) -> None:
    nodes = list(graph.node)
    nodes.insert(position, node)
    copies = [onnx.NodeProto.FromString(other.SerializeToString()) for other in nodes]
    del graph.node[:]
    graph.node.extend(copies)
