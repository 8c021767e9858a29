"""Mutations of ONNX models that leave the file well-formed: what a careless tool, or a hostile one, might write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from fuzzing.graphs import MUTATIONS as GRAPH_MUTATIONS
from fuzzing.graphs import every_node, fresh, integer, integers, values

Mutation = Callable[[Random, onnx.ModelProto], None]

_TEXTS = ("constant", "edge", "reflect", "wrap", "none", "add", "mul", "max", "SAME_UPPER", "", "x" * 40, "\u00e9")
_SMALL = 4096


def attribute(rng: Random, model: onnx.ModelProto) -> None:
    """Changes one attribute: its value, its type, or that it is there."""
    node = rng.choice([n for n in every_node(model.graph) if n.attribute])
    chosen = rng.choice(node.attribute)
    action = rng.random()
    if action < 0.1:
        node.attribute.remove(chosen)
    elif action < 0.13:
        node.attribute.append(chosen)
    elif action < 0.18:
        node.attribute.remove(chosen)
        node.attribute.append(helper.make_attribute(chosen.name, rng.choice([1, 0.5, "s", [1, 2]])))
    elif chosen.type == AttributeProto.INT:
        chosen.i = integer(rng, chosen.i)
    elif chosen.type == AttributeProto.INTS:
        chosen.ints[:] = integers(rng, list(chosen.ints))
    elif chosen.type == AttributeProto.FLOAT:
        chosen.f = rng.choice([0.0, -1.0, float("nan"), float("inf"), chosen.f * 2])
    elif chosen.type == AttributeProto.STRING:
        chosen.s = rng.choice(_TEXTS).encode()
    elif chosen.type == AttributeProto.TENSOR:
        _change_tensor(rng, chosen.t)


def constant(rng: Random, model: onnx.ModelProto) -> None:
    """Changes the values, the shape or the type of one weight, small integer ones preferred."""
    tensors = list(_tensors(model))
    small = [t for t in tensors if t.data_type in (TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL)]
    _change_tensor(rng, rng.choice(small if small and rng.random() < 0.8 else tensors))


def broken_weight(rng: Random, model: onnx.ModelProto) -> None:
    """Makes a weight that contradicts itself: too little data, other dims, an unknown type, data elsewhere."""
    tensor = rng.choice(list(_tensors(model)))
    action = rng.randrange(6)
    if action == 0:
        tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]
    elif action == 1:
        tensor.dims[:] = integers(rng, list(tensor.dims))
    elif action == 2:
        tensor.data_type = rng.choice([0, 8, 14, 15, 16, 17, 22, 99])
    elif action == 3:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.ClearField("raw_data")
        places = ["missing.bin", "/etc/hostname", "../up.bin", ".", "", "mutant.onnx"]
        tensor.external_data.add(key="location", value=rng.choice(places))
        if rng.random() < 0.5:
            tensor.external_data.add(key="length", value=rng.choice(["4", "-1", "x", "99999999999999999999"]))
        if rng.random() < 0.5:
            tensor.external_data.add(key="offset", value=rng.choice(["0", "-8", "x", "3"]))
    elif action == 4:
        tensor.int64_data.extend([1, 2, 3])
    else:
        tensor.name = rng.choice(["", tensor.name + "_", rng.choice(list(values(model.graph)))])


def opset(rng: Random, model: onnx.ModelProto) -> None:
    """Changes, drops or repeats an operator set, or the IR version."""
    action = rng.random()
    if action < 0.7 and model.opset_import:
        rng.choice(model.opset_import).version = rng.choice([*range(7, 29), 0, -1, 1000, 1 << 62])
    elif action < 0.8:
        del model.opset_import[:]
    elif action < 0.9:
        model.opset_import.add(domain=rng.choice(["", "ai.onnx", "com.microsoft", "other"]), version=rng.randrange(20))
    else:
        model.ir_version = rng.choice([0, 1, 3, 4, 7, 8, 10, 13, 99, -1, 1 << 40])


def input_shape(rng: Random, model: onnx.ModelProto) -> None:
    """Changes a size, the rank or the element type of an input or output."""
    value = rng.choice([*model.graph.input, *model.graph.output])
    kind = value.type.tensor_type
    action = rng.random()
    if action < 0.05:
        kind.ClearField("shape")
    elif action < 0.1:
        kind.elem_type = rng.choice([0, 1, 2, 6, 7, 8, 9, 10, 11, 14, 16, 17, 99])
    elif action < 0.15:
        value.ClearField("type")
    elif action < 0.2:
        kind.shape.dim.add(dim_value=rng.choice([0, 1, 3]))
    elif kind.shape.dim:
        dim = rng.choice(kind.shape.dim)
        if rng.random() < 0.5:
            dim.dim_param = rng.choice(["N", "M", "H", "W", "2*N", "N + 1", "N-1", "", "s0 // 2", "unk__0", "\u00e9 x"])
        else:
            dim.dim_value = rng.choice([0, 1, 1, 2, 3, 5, 7, dim.dim_value + 1, 1000, -1, 1 << 31, (1 << 63) - 1])


def symbolic(rng: Random, model: onnx.ModelProto) -> None:
    """Gives every size of the inputs a name: one each, or one for equal sizes; drops what other values say."""
    shared = rng.random() < 0.5
    for number, value in enumerate(model.graph.input):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_value > 0 and rng.random() < 0.9:
                dim.dim_param = f"n{dim.dim_value}" if shared else f"n{number}_{axis}"
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


def described(rng: Random, model: onnx.ModelProto) -> None:
    """Describes values by inference, then perhaps falsely."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # it refuses many mutants
        return
    model.CopyFrom(inferred)
    if model.graph.value_info and rng.random() < 0.7:
        value = rng.choice(model.graph.value_info)
        kind = value.type.tensor_type
        if kind.shape.dim and rng.random() < 0.7:
            dim = rng.choice(kind.shape.dim)
            if rng.random() < 0.5:
                dim.dim_param = rng.choice(["N", "H", "wrong"])
            else:
                dim.dim_value = max(0, dim.dim_value + rng.choice([-1, 1, 3]))
        elif rng.random() < 0.5:
            kind.shape.dim.add(dim_value=1)
        else:
            kind.elem_type = rng.choice([1, 6, 7, 9, 11])


def metadata(rng: Random, model: onnx.ModelProto) -> None:
    """Adds metadata that looks like that of an earlier export, and is not."""
    keys = ["s2deploy.semantics", "s2deploy.inputs", "s2deploy.version", "s2deploy.guards", "other"]
    for _ in range(rng.randrange(1, 4)):
        model.metadata_props.add(
            key=rng.choice(keys), value=rng.choice(["", "clone", "[]", '["x:2,3"]', "{", "\u00e9", "1"])
        )


def _change_tensor(rng: Random, tensor: TensorProto) -> None:
    try:
        array = numpy_helper.to_array(tensor)
    except Exception:  # another mutation has broken it
        return
    if array.size > _SMALL:
        return
    action = rng.randrange(8)
    if action <= 3 and array.dtype.kind in "iu" and array.size:
        flat = [int(n) for n in array.reshape(-1)]
        if rng.random() < 0.5:
            position = rng.randrange(len(flat))
            flat[position] = integer(rng, flat[position])
        else:
            rng.shuffle(flat)
        info = np.iinfo(array.dtype)
        array = np.array([min(max(n, info.min), info.max) for n in flat], array.dtype).reshape(array.shape)
    elif action == 4:
        array = rng.choice([array.reshape(-1), array[None], array[..., None], array.T, np.flip(array)])
    elif action == 5:
        with np.errstate(all="ignore"):
            if array.dtype.kind in "iufb":
                array = array.astype(rng.choice(["int64", "int32", "float32", "bool", "float64", "uint8", "int8"]))
    elif action == 6:
        array = array[:0] if array.ndim and rng.random() < 0.3 else np.concatenate([array.reshape(-1)] * 2)
    elif array.ndim and array.size:
        array = array[: rng.randrange(len(array) + 1)]
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), tensor.name))


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    yield from model.graph.initializer
    for node in every_node(model.graph):
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t


_OFTEN: Sequence[Mutation] = (attribute, attribute, constant, constant, constant, constant, symbolic, input_shape)
_SELDOM: Sequence[Mutation] = (broken_weight, opset, described, metadata)


def mutate(rng: Random, model: onnx.ModelProto, others: Sequence[onnx.ModelProto] = ()) -> list[str]:
    """Mutates a model in place a few times and returns the names of what was done.

    Args:
        rng: Decides everything.
        model: The model.
        others: A model whose nodes may be spliced in.
    """
    done = []
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 5])):
        kind = rng.random()
        pool = _OFTEN if kind < 0.45 else GRAPH_MUTATIONS if kind < 0.85 else _SELDOM
        mutation = rng.choice(pool)
        try:
            mutation(rng, model)
        except (IndexError, ValueError):  # the model has nothing to mutate that way
            continue
        done.append(mutation.__name__)
    for other in others:
        fresh(rng, model, other)
        done.append("splice")
    return done
