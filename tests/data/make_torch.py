"""Makes the fixtures of PyTorch: both exporters, from the oldest opset the rewriter knows on.

    python -m venv torch-env
    torch-env/bin/pip install torch==2.13.0 onnx==1.23.0 onnxscript==0.7.0
    torch-env/bin/python make_torch.py

Only old-style exports keep the index arithmetic of slice assignment that public ONNX files carry, so the modules
are exported by the TorchScript exporter at opsets 11 to 20 and by the dynamo exporter without its optimizer.
"""

from __future__ import annotations

import io
import warnings

import onnx
import torch
from saving import save
from torch import Tensor, nn


class Shift(nn.Module):
    """Four shifts of channel groups, as in shift MLPs, written as overlapping assignments."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 1.5
        g = y.shape[-1] // 4
        y[:, 1:, :, :g] = y[:, :-1, :, :g].clone()
        y[:, :-1, :, g : 2 * g] = y[:, 1:, :, g : 2 * g].clone()
        y[:, :, 1:, 2 * g : 3 * g] = y[:, :, :-1, 2 * g : 3 * g].clone()
        y[:, :, :-1, 3 * g :] = y[:, :, 1:, 3 * g :].clone()
        return y * 2


class TemporalShift(nn.Module):
    """The temporal shift of video models: a tensor of zeros filled from three slices."""

    def forward(self, x: Tensor) -> Tensor:
        out = torch.zeros_like(x)
        fold = x.shape[2] // 4
        out[:, :-1, :fold] = x[:, 1:, :fold]
        out[:, 1:, fold : 2 * fold] = x[:, :-1, fold : 2 * fold]
        out[:, :, 2 * fold :] = x[:, :, 2 * fold :]
        return out


class FocusInverse(nn.Module):
    """Assignment with steps: the inverse of the focus layer."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        out = x.new_zeros(n, c // 4, 2 * h, 2 * w)
        q = c // 4
        out[..., ::2, ::2] = x[:, :q]
        out[..., 1::2, ::2] = x[:, q : 2 * q]
        out[..., ::2, 1::2] = x[:, 2 * q : 3 * q]
        out[..., 1::2, 1::2] = x[:, 3 * q :]
        return out


class CostVolume(nn.Module):
    """A stereo cost volume: a loop over disparities."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        n, c, h, w = left.shape
        cost = left.new_zeros(n, 2 * c, 2, h, w)
        for i in range(2):
            cost[:, :c, i, :, i:] = left[:, :, :, i:]
            cost[:, c:, i, :, i:] = right[:, :, :, : w - i]
        return cost


class Decode(nn.Module):
    """The box decoding of YOLO heads: arithmetic assigned to slices of the last axis."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.sigmoid()
        y[..., 0:2] = (y[..., 0:2] * 2.0 - 0.5) * 8.0
        y[..., 2:4] = (y[..., 2:4] * 2) ** 2 * 3.0
        y[..., 4] *= 0.5
        return y


class Negative(nn.Module):
    """Negative positions, a scalar and a broadcast row; the older exporter dies of an empty slice."""

    def forward(self, x: Tensor) -> Tensor:
        y = x + 1
        y[:, -2:] = x[:, :2]
        y[:, :, -1] = 0.5
        y[:, 0] = x[:, 1, :1]
        return y


class Mask(nn.Module):
    """An attention mask made by assignment, as in shifted windows."""

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.zeros(1, x.shape[1], x.shape[2], 1)
        count = 0
        for rows in (slice(0, -4), slice(-4, None)):
            for columns in (slice(0, -4), slice(-4, -2), slice(-2, None)):
                mask[:, rows, columns, :] = count
                count += 1
        return x + mask


class IndexPut(nn.Module):
    """Assignment through index tensors that enumerate a run, a column and a reversed run."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 1
        y[:, torch.arange(1, 4)] = x[:, :3] * 2
        y[:, :, [2]] = 0.0
        y[torch.arange(x.shape[0])[:, None], torch.tensor([4, 3])] = x[:, :2]
        return y


class ScatterAdd(nn.Module):
    """Adds to a slice through unique indices."""

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        return x.index_add(1, torch.arange(1, 3), v)


CASES: dict[str, tuple[nn.Module, tuple[Tensor, ...]]] = {
    "shift": (Shift(), (torch.randn(2, 6, 5, 8),)),
    "temporal_shift": (TemporalShift(), (torch.randn(2, 4, 8, 3),)),
    "focus_inverse": (FocusInverse(), (torch.randn(2, 8, 3, 4),)),
    "cost_volume": (CostVolume(), (torch.randn(2, 3, 4, 6), torch.randn(2, 3, 4, 6))),
    "decode": (Decode(), (torch.randn(2, 5, 7),)),
    "negative": (Negative(), (torch.randn(2, 6, 4),)),
    "mask": (Mask(), (torch.randn(2, 8, 8, 1),)),
    "index_put": (IndexPut(), (torch.randn(2, 6, 4),)),
    "index_add": (ScatterAdd(), (torch.randn(2, 5, 3), torch.randn(2, 2, 3))),
}

# The older exporter at its old opsets; "dynamic" makes the batch symbolic, "open" the sizes that follow it too.
TORCHSCRIPT = {
    "shift": [(11, "dynamic"), (13, "open")],
    "temporal_shift": [(13, "open")],
    "focus_inverse": [(11, "static")],
    "cost_volume": [(12, "static")],
    "decode": [(12, "static")],
    "negative": [(13, "static")],
    "mask": [(11, "static")],
    "index_put": [(13, "dynamic")],
    "index_add": [(16, "static")],
}
DYNAMO = {
    "shift": ["open"],
    "temporal_shift": ["dynamic"],
    "decode": ["static"],
    "negative": ["static"],
    "index_put": ["static"],
    "index_add": ["static"],
}
AXES = {"static": (), "dynamic": (0,), "open": (0, 1, 2)}
LETTERS = "NHW"


def main() -> None:
    """Exports every case."""
    warnings.simplefilter("ignore")
    for name, variants in TORCHSCRIPT.items():
        module, inputs = CASES[name]
        names = [f"x{i}" for i in range(len(inputs))]
        for opset, kind in variants:
            axes = {axis: LETTERS[axis] for axis in AXES[kind]}
            if name == "decode":
                axes.pop(2, None)
            elif name == "temporal_shift" and 2 in axes:
                axes.pop(2)
                axes[3] = "W"
            buffer = io.BytesIO()
            torch.onnx.export(
                module,
                inputs,
                buffer,
                dynamo=False,
                opset_version=opset,
                input_names=names,
                output_names=["y"],
                dynamic_axes=dict.fromkeys([*names, "y"], axes) if axes else None,
            )
            model = onnx.load_from_string(buffer.getvalue())
            save(model, "torch", f"{name}_ts{opset}_{kind}")
    for name, kinds in DYNAMO.items():
        module, inputs = CASES[name]
        for kind in kinds:
            dims = {axis: torch.export.Dim(LETTERS[axis], min=2, max=64) for axis in AXES[kind]}
            program = torch.onnx.export(
                module,
                inputs,
                dynamo=True,
                optimize=False,
                verbose=False,
                input_names=[f"x{i}" for i in range(len(inputs))],
                output_names=["y"],
                dynamic_shapes=tuple(dims for _ in inputs) if dims else None,
            )
            assert program is not None
            save(program.model_proto, "torch", f"{name}_dynamo_{kind}")


if __name__ == "__main__":
    main()
