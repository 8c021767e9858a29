"""Makes the fixtures of TensorFlow with tf2onnx.

    python3.10 -m venv tf-env
    tf-env/bin/pip install tensorflow-cpu==2.21.0 tf2onnx==1.17.0
    tf-env/bin/python make_tf.py

tf2onnx keeps tensor_scatter_nd_update as one ScatterND; its indices are constants, or computed from shapes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tf2onnx
from saving import save

Tensor = tf.Tensor


def grid(*axes: Tensor) -> Tensor:
    """Returns the positions of a product of index vectors, one row each."""
    return tf.stack(tf.meshgrid(*axes, indexing="ij"), axis=-1)


def shift(x: Tensor) -> Tensor:
    """Four shifts by tensor_scatter_nd_update on the first axes after channels were brought in front."""
    y = tf.transpose(x * 1.5, (3, 1, 2, 0))
    c, h, w = y.shape[0], y.shape[1], y.shape[2]
    g = c // 4

    def move(y: Tensor, group: int, rows: tuple[int, int], columns: tuple[int, int], down: int, right: int) -> Tensor:
        channels = tf.range(group * g, (group + 1) * g)
        target = grid(channels, tf.range(*rows), tf.range(*columns))
        from_rows = tf.range(rows[0] - down, rows[1] - down)
        source = grid(channels, from_rows, tf.range(columns[0] - right, columns[1] - right))
        return tf.tensor_scatter_nd_update(y, target, tf.gather_nd(y, source))

    y = move(y, 0, (1, h), (0, w), 1, 0)
    y = move(y, 1, (0, h - 1), (0, w), -1, 0)
    y = move(y, 2, (0, h), (1, w), 0, 1)
    y = move(y, 3, (0, h), (0, w - 1), 0, -1)
    return tf.transpose(y, (3, 1, 2, 0)) * 2.0


def temporal_shift(x: Tensor) -> Tensor:
    """The temporal shift of video models with tf.pad and tf.concat."""
    fold = x.shape[-1] // 4
    left = tf.pad(x[:, 1:, ..., :fold], [[0, 0], [0, 1], [0, 0], [0, 0]])
    right = tf.pad(x[:, :-1, ..., fold : 2 * fold], [[0, 0], [1, 0], [0, 0], [0, 0]])
    return tf.concat([left, right, x[..., 2 * fold :]], axis=-1)


def update_rows(x: Tensor, v: Tensor) -> Tensor:
    """Rows from a range, of a tensor whose first axis is the batch: the indices name batch and row."""
    n = tf.shape(x)[0]
    return tf.tensor_scatter_nd_update(x, grid(tf.range(n), tf.range(1, 4)), v[:, :3])


def update_constant(x: Tensor, v: Tensor) -> Tensor:
    """Constant indices, unordered."""
    first = tf.transpose(x, (1, 0, 2))
    done = tf.tensor_scatter_nd_update(first, [[4], [2], [3]], tf.transpose(v[:, :3], (1, 0, 2)))
    return tf.transpose(done, (1, 0, 2))


def add_rows(x: Tensor, v: Tensor) -> Tensor:
    """tensor_scatter_nd_add at unique positions."""
    first = tf.transpose(x, (1, 0, 2))
    return tf.tensor_scatter_nd_add(first, [[1], [2]], tf.transpose(v[:, :2], (1, 0, 2)))


def scatter_zeros(v: Tensor) -> Tensor:
    """scatter_nd into zeros."""
    return tf.scatter_nd(grid(tf.range(2), tf.range(1, 4)), v[:, :3], (2, 6, 4))


def roll(x: Tensor) -> Tensor:
    """tf.roll over one axis and over two."""
    return tf.roll(x, 2, axis=1) + tf.roll(x, (1, -1), axis=(1, 2))


def pads(x: Tensor) -> Tensor:
    """tf.pad in its three modes, cut back to the size of x."""
    zero = tf.pad(x, [[0, 0], [1, 0], [0, 0]])[:, :-1]
    reflect = tf.pad(x, [[0, 0], [0, 1], [0, 0]], mode="REFLECT")[:, 1:]
    symmetric = tf.pad(x, [[0, 0], [1, 0], [0, 0]], mode="SYMMETRIC")[:, :-1]
    return zero + reflect + symmetric


def strided(x: Tensor) -> Tensor:
    """strided_slice with steps, negative ones, masks and a new axis."""
    return x[:, ::2, ::-1] + x[:, 1::2, :] + x[:, -1, tf.newaxis]


def window_mask(x: Tensor) -> Tensor:
    """The mask of shifted windows, made with numpy as Keras implementations do."""
    picture = np.zeros((1, 6, 4, 1), np.float32)
    for count, rows in enumerate((slice(0, -4), slice(-4, -2), slice(-2, None))):
        picture[:, rows] = count
    mask = tf.reshape(tf.constant(picture), (-1, 24))
    different = tf.not_equal(mask[:, None, :], mask[:, :, None])
    return x + tf.reshape(tf.reduce_sum(tf.where(different, -100.0, 0.0), axis=-1), (1, 6, 4))


def loop(x: Tensor) -> Tensor:
    """A while loop with an update in its body."""

    def body(i: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        moved = tf.tensor_scatter_nd_update(y, [[1], [2], [3], [4], [5]], y[:-1] * 1.25)
        return i + 1, moved

    _, y = tf.while_loop(lambda i, _: i < 3, body, (0, tf.transpose(x, (1, 0, 2))))
    return tf.transpose(y, (1, 0, 2))


ROWS = (2, 6, 4)
CASES: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]], tuple[str, ...], int]] = {
    "shift": (shift, [(2, 6, 5, 8)], ("dynamic",), 13),
    "temporal_shift": (temporal_shift, [(2, 4, 3, 8)], ("dynamic",), 11),
    "update_rows": (update_rows, [ROWS, ROWS], ("static", "dynamic"), 15),
    "update_constant": (update_constant, [ROWS, ROWS], ("dynamic",), 11),
    "add_rows": (add_rows, [ROWS, ROWS], ("static",), 18),
    "scatter_zeros": (scatter_zeros, [ROWS], ("static",), 13),
    "roll": (roll, [ROWS], ("dynamic",), 11),
    "pads": (pads, [ROWS], ("dynamic",), 13),
    "strided": (strided, [ROWS], ("dynamic",), 12),
    "window_mask": (window_mask, [ROWS], ("dynamic",), 13),
    "loop": (loop, [ROWS], ("static",), 13),
}


def main() -> None:
    """Converts every case."""
    for name, (function, shapes, kinds, opset) in CASES.items():
        for kind in kinds:
            batch = None if kind == "dynamic" else shapes[0][0]
            specs = [tf.TensorSpec((batch, *shape[1:]), tf.float32, name=f"x{i}") for i, shape in enumerate(shapes)]
            model, _ = tf2onnx.convert.from_function(tf.function(function), input_signature=specs, opset=opset)
            for value in (*model.graph.input, *model.graph.output):
                for axis, dim in enumerate(value.type.tensor_type.shape.dim):
                    if not dim.HasField("dim_value"):
                        dim.dim_param = f"N{axis}" if value.name.startswith("x") else f"{value.name}_{axis}"
            save(model, "tf", f"{name}_{kind}")


if __name__ == "__main__":
    main()
