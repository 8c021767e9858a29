"""What stands left of the assignment: every kind of view, and the functions that write without one."""

from __future__ import annotations

import torch

from forms.form import form

IMAGE = "x:n=1..2..4,5,h=3..6..9,8"


@form(IMAGE, dtypes=("int64",), empty=True)
def copy_into_slice(x):
    """y[:, 1:3].copy_(x[:, 0:2])"""
    y = x.clone()
    y[:, 1:3].copy_(x[:, 0:2])
    return y


@form(IMAGE, empty=True)
def slice_scatter(x):
    """torch.slice_scatter(x, x[:, :2] * 3, 1, 2, 4)"""
    return torch.slice_scatter(x, x[:, :2] * 3, 1, 2, 4)


@form(IMAGE, empty=True)
def select_scatter(x):
    """torch.select_scatter(x, x[:, :, 0] * 3, 2, 1)"""
    return torch.select_scatter(x, x[:, :, 0] * 3, 2, 1)


@form(IMAGE, dtypes=("int64",), empty=True)
def index_put_list(x):
    """y[:, [0, 1, 2]] = x[:, [2, 3, 4]]"""
    y = x.clone()
    y[:, [0, 1, 2]] = x[:, [2, 3, 4]]
    return y


@form(IMAGE, empty=True)
def index_put_tensor(x):
    """y[:, torch.tensor([1, 2])] = 1.5"""
    y = x.clone()
    y[:, torch.tensor([1, 2])] = 1.5
    return y


@form("x:5,h=1..6..9,8")
def index_put_arange(x):
    """y.index_put_((torch.arange(1, 4),), x[:3])"""
    y = x.clone()
    y.index_put_((torch.arange(1, 4),), x[:3])
    return y


@form(IMAGE)
def index_copy_and_fill(x):
    """y = x.index_fill(1, [0, 2], 1.0); y.index_copy_(1, [3, 4], x[:, :2])"""
    y = x.index_fill(1, torch.tensor([0, 2]), 1.0)
    y.index_copy_(1, torch.tensor([3, 4]), x[:, :2])
    return y


@form(IMAGE, empty=True)
def narrow_and_select(x):
    """y.narrow(1, 1, 2).copy_(x.narrow(1, 0, 2)); y.select(2, 0).fill_(1.0)"""
    y = x.clone()
    y.narrow(1, 1, 2).copy_(x.narrow(1, 0, 2))
    y.select(2, 0).fill_(1.0)
    return y


@form(IMAGE, empty=True)
def unbind_views(x):
    """for i, view in enumerate(y.unbind(1)): view.mul_(i + 1)"""
    y = x.clone()
    for i, view in enumerate(y.unbind(1)):
        view.mul_(i + 1)
    return y


@form(IMAGE, empty=True)
def chunk_views(x):
    """a, b = y.chunk(2, -1); a.copy_(b)"""
    y = x.clone()
    a, b = y.chunk(2, -1)
    a.copy_(b)
    return y


@form(IMAGE, empty=True)
def split_views(x):
    """a, b, c = y.split([2, 3, 3], -1); b.copy_(c); a.zero_()"""
    y = x.clone()
    a, b, c = y.split([2, 3, 3], -1)
    b.copy_(c)
    a.zero_()
    return y


@form("x:n=1..2..4,5,h=4..6..9,8", empty=True)
def views_of_views(x):
    """y[:, 1:][:, :, 2:][..., :4] = x[:, :-1, 2:, :4]"""
    y = x.clone()
    y[:, 1:][:, :, 2:][..., ::1][..., :4] = x[:, :-1, 2:, :4]
    return y


@form("x:n=2..2..4,5,h=1..6..9,8")
def ellipsis_and_negative(x):
    """y[..., -3:] = x[..., :3]; y[-1] = 0; y[..., -1] = 2"""
    y = x.clone()
    y[..., -3:] = x[..., :3]
    y[-1] = 0
    y[..., -1] = 2
    return y


@form(IMAGE, empty=True)
def through_transpose(x):
    """y.transpose(1, 2)[:, 1:] = x.transpose(1, 2)[:, :-1]"""
    y = x.clone()
    y.transpose(1, 2)[:, 1:] = x.transpose(1, 2)[:, :-1]
    return y


@form(IMAGE, empty=True)
def through_permute(x):
    """y.permute(0, 3, 1, 2)[:, :4] = x.permute(0, 3, 1, 2)[:, 4:]"""
    y = x.clone()
    y.permute(0, 3, 1, 2)[:, :4] = x.permute(0, 3, 1, 2)[:, 4:]
    return y


@form("x:n=1..2..4,5,6,8", empty=True)
def through_flattening_view(x):
    """y.view(n, c, -1)[:, :, 6:20] = 0"""
    y = x.clone()
    y.view(x.shape[0], x.shape[1], -1)[:, :, 6:20] = 0
    return y


@form(IMAGE, empty=True)
def through_splitting_view(x):
    """y.view(n, c, h, 2, 4)[:, :, :, 0] = x[..., 4:]"""
    y = x.clone()
    y.view(x.shape[0], x.shape[1], x.shape[2], 2, 4)[:, :, :, 0] = x[..., 4:]
    return y


@form(IMAGE, empty=True)
def with_new_axes(x):
    """y[:, :, None, 1:3] = x[:, :, None, 0:2]"""
    y = x.clone()
    y[:, :, None, 1:3] = x[:, :, None, 0:2]
    return y


@form("x:n=1..2..4,5,h=1..6..9,8", empty=True)
def mixed_integers_and_slices(x):
    """y[:, 1:, 0, 2::2] = x[:, :-1, -1, :-2:2]"""
    y = x.clone()
    y[:, 1:, 0, 2::2] = x[:, :-1, -1, :-2:2]
    return y


@form(IMAGE, empty=True)
def reads_what_it_writes(x):
    """y[:, 2:4] = flip(y[:, 0:2])"""
    y = x.clone()
    y[:, 2:4] = torch.flip(y[:, 0:2], [1])
    return y


# With a batch of unknown size, the TorchScript exporter writes it into the indices.
BATCHED = {"torchscript dynamic": "along a diagonal"}


@form("x:n=1..2..4,6,6", empty=True, refused=BATCHED)
def diagonal_index(x):
    """y[:, torch.arange(6), torch.arange(6)] = 0"""
    y = x.clone()
    i = torch.arange(6)
    y[:, i, i] = 0.0
    return y


@form("x:n=1..2..4,6,6", "d:n,5", empty=True, refused=BATCHED)
def beside_the_diagonal(x, d):
    """y[:, i[:-1], i[1:]] = d; y[:, i[1:], i[:-1]] = -d (bands of a matrix)"""
    y = x.clone()
    i = torch.arange(6)
    y[:, i[:-1], i[1:]] = d
    y[:, i[1:], i[:-1]] = -d
    return y


@form("x:n=1..2..4,10", empty=True, refused=BATCHED)
def triangular_from_vector(x):
    """y[:, rows, columns] = x, with rows, columns = torch.tril_indices(4, 4)"""
    y = torch.zeros(x.shape[0], 4, 4)
    rows, columns = torch.tril_indices(4, 4)
    y[:, rows, columns] = x
    y[:, columns, rows] = x
    return y


@form("x:n=1..2..4,5,5", empty=True)
def main_diagonal_view(x):
    """y.diagonal(dim1=1, dim2=2).add_(x[:, 0]).exp_()"""
    y = x.clone()
    y.diagonal(dim1=1, dim2=2).add_(x[:, 0]).exp_()
    return y
