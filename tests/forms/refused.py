"""Writes that a run decides or that add up: they must stay, and the reason must be told."""

from __future__ import annotations

import torch

from forms.form import form

RUN_TIME = "computed at run time"
ROWS = "x:n=1..2..4,t=3..6..9,8"


@form(ROWS, "i:k=1..3..5:int64", values=("i=0..1",), refused=RUN_TIME)
def index_given_at_run_time(x, i):
    """y[:, i] = 0 with an index that is an input"""
    y = x.clone()
    y[:, i] = 0.0
    return y


@form(ROWS, refused=RUN_TIME)
def rows_of_an_argsort(x):
    """y[x.sum((1, 2)).argsort()] = 0"""
    y = x.clone()
    y[x.sum((1, 2)).argsort()] = x * 2
    return y


@form(ROWS, refused=RUN_TIME)
def boolean_index(x):
    """y[x > 0] = as many values of another tensor, in reverse"""
    y = x.clone()
    y[x > 0] = (x * 2)[x > 0].flip(0)
    return y


@form(ROWS, refused=RUN_TIME)
def scatter_of_a_topk(x):
    """torch.zeros_like(x).scatter_(2, x.topk(2).indices, 1.0) (mixture of experts)"""
    return torch.zeros_like(x).scatter_(2, x.topk(2, -1).indices, 1.0)


@form("x:n=1..2..4,5,8", "i:n,3,8:int64", values=("i=0..4",), refused="reduces with add|" + RUN_TIME)
def scatter_add(x, i):
    """x.scatter_add(1, i, x[:, :3])"""
    return x.scatter_add(1, i, x[:, :3])


@form("x:5,h=1..6..9,8", refused="reduces with add|twice")
def accumulated_index_put(x):
    """y.index_put_((torch.tensor([0, 0, 2]),), x[:3], accumulate=True)"""
    y = x.clone()
    y.index_put_((torch.tensor([0, 0, 2]),), x[:3], accumulate=True)
    return y


@form("x:n=1..2..4,6,6", refused="writes into what diagonal returns")
def diagonal_view(x):
    """y.diagonal(1, 1, 2).zero_(), beside the main diagonal"""
    y = x.clone()
    y.diagonal(1, 1, 2).zero_()
    return y


@form("x:n=1..2..3,2,t=3..5..9,4", "p:1:int64", values=("p=0..1",), refused=RUN_TIME)
def cache_at_a_run_time_position(x, p):
    """cache[:, :, p] = x[:, :, -1:], a position that is an input"""
    cache = x.clone()
    cache[:, :, p] = x[:, :, -1:] * 2
    return cache


@form("x:12,4", "i:6:int64", values=("i=0..11",), refused=RUN_TIME + "|reduces")
def pillars(x, i):
    """canvas[:, i] = pillars.t() (PointPillars)"""
    canvas = torch.zeros(4, 12)
    canvas[:, i] = x[:6].t()
    return canvas
