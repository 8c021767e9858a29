"""Makes the fixtures of JAX with jax2onnx.

    python3.12 -m venv jax-env
    jax-env/bin/pip install jax2onnx==0.17.1 onnx==1.23.2 onnx-ir==1.1.0
    jax-env/bin/pip install "jax[cpu]==0.9.2"   # the newest that this jax2onnx converts; pip warns about flax
    jax-env/bin/python make_jax.py

jax2onnx writes index arithmetic (NonZero, Range, Gather, Expand, Where) for every indexed update.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax2onnx import to_onnx
from saving import save


def shift(x: Array) -> Array:
    """The four shifts of S2-MLP, channels last: each reads what the one before left."""
    x = x * 1.5
    g = x.shape[-1] // 4
    x = x.at[:, 1:, :, :g].set(x[:, :-1, :, :g])
    x = x.at[:, :-1, :, g : 2 * g].set(x[:, 1:, :, g : 2 * g])
    x = x.at[:, :, 1:, 2 * g : 3 * g].set(x[:, :, :-1, 2 * g : 3 * g])
    x = x.at[:, :, :-1, 3 * g :].set(x[:, :, 1:, 3 * g :])
    return x * 2


def temporal_shift(x: Array) -> Array:
    """The temporal shift of video models."""
    fold = x.shape[-1] // 4
    out = jnp.zeros_like(x)
    out = out.at[:, :-1, :, :fold].set(x[:, 1:, :, :fold])
    out = out.at[:, 1:, :, fold : 2 * fold].set(x[:, :-1, :, fold : 2 * fold])
    return out.at[..., 2 * fold :].set(x[..., 2 * fold :])


def set_row(x: Array, v: Array) -> Array:
    """One row, counted from the end."""
    return x.at[:, -2].set(v[:, 0])


def set_slice(x: Array, v: Array) -> Array:
    """Negative bounds."""
    return x.at[:, -4:-2, 1:].set(v[:, :2, 1:])


def set_strided(x: Array, v: Array) -> Array:
    """Every other row."""
    return x.at[:, ::2].set(v[:, :3])


def set_indices(x: Array, v: Array) -> Array:
    """Index arrays that enumerate a run and scattered rows."""
    x = x.at[:, jnp.array([1, 2, 3])].set(v[:, :3] * 2)
    return x.at[:, jnp.array([5, 0])].set(v[:, 3:5])


def set_grid(x: Array, v: Array) -> Array:
    """The product of two index arrays."""
    return x.at[:, jnp.arange(1, 4)[:, None], jnp.arange(2)[None, :]].set(v[:, 1:4, :2])


def set_mask(x: Array) -> Array:
    """A constant mask."""
    mask = np.zeros((6, 4), bool)
    mask[:, 1:3] = True
    return x.at[:, mask].set(0.25)


def set_scalar(x: Array) -> Array:
    """A scalar into a corner."""
    return x.at[:, :2, -1].set(3.0)


def add_slice(x: Array, v: Array) -> Array:
    """Adds to a slice; its positions are unique."""
    return x.at[:, 1:3].add(v[:, :2])


def multiply_slice(x: Array) -> Array:
    """Multiplies a slice."""
    return x.at[:, :, 2:].multiply(0.5)


def maximum_slice(x: Array, v: Array) -> Array:
    """The larger of a slice and a tensor."""
    return x.at[:, :2].max(v[:, :2])


def update_slice(x: Array, v: Array) -> Array:
    """dynamic_update_slice at constant positions, one of them past the end so that it is clamped."""
    x = lax.dynamic_update_slice(x, v[:, :2, :2], (0, 1, 2))
    return lax.dynamic_update_slice_in_dim(x, v[:, 4:], 9, axis=1)


def update_slice_at(x: Array, v: Array, at: Array) -> Array:
    """dynamic_update_slice at a position known at run time only: it stays a scatter."""
    return lax.dynamic_update_slice(x, v[:, :2], (0, at, 0))


def read_slices(x: Array) -> Array:
    """dynamic_slice at constant positions, and gathers that are slices."""
    a = lax.dynamic_slice(x, (0, 1, 0), (x.shape[0], 3, 4))
    return a + x[:, jnp.arange(2, 5)] + jnp.take(x, jnp.array([5, 4, 3]), axis=1)


def roll(x: Array) -> Array:
    """jnp.roll over one axis and over two."""
    return jnp.roll(x, 2, axis=1) + jnp.roll(x, (1, -1), axis=(1, 2))


def pads(x: Array) -> Array:
    """jnp.pad with zeros, cut back to the size of x; jax2onnx writes a broken Reshape for its other modes."""
    return jnp.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1] + jnp.pad(x, ((0, 0), (0, 1), (0, 2)))[:, 1:, 2:]


def shift_loop(x: Array) -> Array:
    """A loop that JAX keeps as a loop, with an assignment in its body."""

    def body(_: int, y: Array) -> Array:
        return y.at[:, 1:].set(y[:, :-1]) * 1.25

    return lax.fori_loop(0, 3, body, x)


def shift_scan(x: Array) -> Array:
    """A scan whose body assigns to a slice."""

    def body(carry: Array, row: Array) -> tuple[Array, Array]:
        new = jnp.zeros_like(row).at[:, 1:].set(row[:, :-1])
        return carry + new, new

    last, rows = lax.scan(body, jnp.zeros_like(x[:, 0]), jnp.swapaxes(x, 0, 1))
    return jnp.swapaxes(rows, 0, 1) + last[:, None]


B = "B"
ROWS = (2, 6, 4)
CASES: dict[str, tuple[Callable[..., Array], list[tuple[int | str, ...]], tuple[str, ...]]] = {
    "shift": (shift, [(2, 6, 5, 8)], ("dynamic",)),
    "temporal_shift": (temporal_shift, [(2, 4, 3, 8)], ("dynamic",)),
    "set_row": (set_row, [ROWS, ROWS], ("dynamic",)),
    "set_slice": (set_slice, [ROWS, ROWS], ("static", "dynamic")),
    "set_strided": (set_strided, [ROWS, ROWS], ("dynamic",)),
    "set_indices": (set_indices, [ROWS, ROWS], ("dynamic",)),
    "set_grid": (set_grid, [ROWS, ROWS], ("dynamic",)),
    "set_mask": (set_mask, [ROWS], ("static",)),
    "set_scalar": (set_scalar, [ROWS], ("dynamic",)),
    "add_slice": (add_slice, [ROWS, ROWS], ("dynamic",)),
    "multiply_slice": (multiply_slice, [ROWS], ("static",)),
    "maximum_slice": (maximum_slice, [ROWS, ROWS], ("static",)),
    "update_slice": (update_slice, [ROWS, ROWS], ("dynamic",)),
    "read_slices": (read_slices, [ROWS], ("static",)),
    "roll": (roll, [ROWS], ("dynamic",)),
    "pads": (pads, [ROWS], ("dynamic",)),
    "shift_loop": (shift_loop, [ROWS], ("static",)),
    "shift_scan": (shift_scan, [ROWS], ("static",)),
}


def main() -> None:
    """Converts every case."""
    for name, (function, shapes, kinds) in CASES.items():
        for kind in kinds:
            given = shapes if kind == "static" else [(B, *shape[1:]) for shape in shapes]
            model = to_onnx(function, given, opset=21, input_names=[f"x{i}" for i in range(len(given))])
            save(model, "jax", f"{name}_{kind}")
    at = jax.ShapeDtypeStruct((), np.int32)
    given = [jax.ShapeDtypeStruct(ROWS, np.float32)] * 2
    model = to_onnx(update_slice_at, [*given, at], opset=21, input_names=["x0", "x1", "at"])
    save(model, "jax", "update_slice_at_static")


if __name__ == "__main__":
    main()
