"""Overlap detection, clone semantics and the measured difference of eager PyTorch."""

import itertools
import linecache
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from s2deploy.errors import ValidationError
from s2deploy.overlap import clone_semantics, eager_difference, find_overlaps, reference
from s2deploy.overlap.memory import same_mapping, share_memory


class Shifts(nn.Module):
    """Four shifts of a quarter of the channels each, as people write them."""

    def __init__(self, channels=8):
        super().__init__()
        self.mix = nn.Linear(channels, channels)

    def forward(self, x):
        x = self.mix(x)
        c = x.size(-1)
        x[:, 1:, :, : c // 4] = x[:, :-1, :, : c // 4]
        x[:, :-1, :, c // 4 : c // 2] = x[:, 1:, :, c // 4 : c // 2]
        x[:, :, 1:, c // 2 : c * 3 // 4] = x[:, :, :-1, c // 2 : c * 3 // 4]
        x[:, :, :-1, c * 3 // 4 :] = x[:, :, 1:, c * 3 // 4 :]
        return x


def shifted(x):
    """What `Shifts` means, without any in-place operator."""
    a, b, c, d = x.chunk(4, -1)
    a = torch.cat([a[:, :1], a[:, :-1]], 1)
    b = torch.cat([b[:, 1:], b[:, -1:]], 1)
    c = torch.cat([c[:, :, :1], c[:, :, :-1]], 2)
    d = torch.cat([d[:, :, 1:], d[:, :, -1:]], 2)
    return torch.cat([a, b, c, d], -1)


class Function(nn.Module):
    """A module out of a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


def overlaps_of(function, *args):
    return [overlap.operator for overlap in find_overlaps(Function(function), args)]


@pytest.mark.parametrize("size", [(2, 5, 7), (1, 2, 2), (1, 1, 1), (3, 2, 1), (0, 4, 4)])
@pytest.mark.parametrize("threads", [1, 2])
def test_reference_reads_before_it_writes(size, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        module, x = Shifts().eval(), torch.randn(*size, 8)
        torch.testing.assert_close(reference(module, (x,)), shifted(module.mix(x)).detach(), rtol=0, atol=0)
    finally:
        torch.set_num_threads(before)


def test_overlaps_name_the_user_lines():
    first = Shifts.forward.__code__.co_firstlineno + 3
    found = find_overlaps(Shifts(), (torch.randn(2, 5, 7, 8),))
    assert [overlap.line for overlap in found] == [first, first + 1, first + 2, first + 3]
    assert {overlap.file for overlap in found} == {__file__}
    assert {overlap.operator for overlap in found} == {"copy_"}
    assert found[0].source == "x[:, 1:, :, : c // 4] = x[:, :-1, :, : c // 4]"
    assert str(found[0]) == f"{__file__}:{first}"


def test_overlaps_of_an_exported_program_come_from_its_recorded_lines():
    module, x = Shifts().eval(), torch.randn(2, 5, 7, 8)
    program = torch.export.export(module, (x,))
    assert find_overlaps(program.module(), (x,)) == find_overlaps(module, (x,))


def smear_twice(x):
    x[1:] = x[:-1]
    x[:-1] = x[1:]
    return x


def test_an_exported_program_knows_calls_only_by_the_line_in_forward():
    class Calls(nn.Module):
        def forward(self, x):
            return smear_twice(x * 2)

    program = torch.export.export(Calls(), (torch.randn(4),))
    (overlap,) = find_overlaps(program.module(), (torch.randn(4),))
    assert (overlap.source, overlap.count) == ("return smear_twice(x * 2)", 2)


def test_a_line_that_runs_often_is_one_overlap_with_a_count():
    def roll(x):
        for _ in range(3):
            x[1:] = x[:-1]
        return x

    (overlap,) = find_overlaps(Function(roll), (torch.randn(4),))
    assert overlap.count == 3


def test_size_one_has_nothing_to_overlap():
    assert find_overlaps(Shifts(), (torch.randn(1, 1, 1, 8),)) == ()


@pytest.mark.parametrize(
    ("function", "operators"),
    [
        (lambda x: x[1:].copy_(x[:-1]), ["copy_"]),
        (lambda x: x[:, 4:].mul_(x[:, 4:5]), ["mul_"]),
        (lambda x: x[:, 1:].sub_(x[:, :-1]), ["sub_"]),
        (lambda x: x[:, 2:].clamp_(min=x[:, 1:7]), ["clamp_"]),
        (lambda x: x[1:].masked_fill_(x[1:] > 0, x[1, 1]), ["masked_fill_"]),
        (lambda x: x[2:].fill_(x[3, 3]), ["fill_"]),
        (lambda x: torch.add(x[:-1], 1, out=x[1:]), ["add"]),
        (lambda x: x.index_put_((torch.tensor([2, 0, 1]),), x[:3]), ["index_put_"]),
        (lambda x: x.index_copy_(0, torch.tensor([2, 0]), x[:2]), ["index_copy_"]),
        (lambda x: torch._foreach_add_([x[1:]], [x[:-1]]), ["_foreach_add_"]),
        (lambda x: x.copy_(x.flip(0)), []),
        (lambda x: x.copy_(x.t()), ["copy_"]),
        (lambda x: x.copy_(x[:, :1]), []),
        (lambda x: x.copy_(x[:, 3:4]), []),
        (lambda x: x[:, 1:].copy_(x[:, 3:4]), []),
        (lambda x: x.mul_(x[:, :1]), ["mul_"]),
        (lambda x: x.add_(x), []),
        (lambda x: x[2:5].mul_(2), []),
        (lambda x: x[:4].copy_(x[4:]), []),
        (lambda x: x[:, ::2].copy_(x[:, 1::2]), []),
        (lambda x: x[:, :4].mul_(x[:, 4:5]), []),
        (lambda x: x[2:5].copy_(x[2:5]), []),
        (lambda x: x + 1, []),
        (lambda x: x.t_(), []),
    ],
)
def test_overlap_is_found_exactly_where_order_matters(function, operators):
    # torch itself refuses some of these; under clone semantics all run.
    assert overlaps_of(function, torch.randn(8, 8)) == operators


def test_clone_semantics_of_other_operators():
    x = torch.arange(6.0)
    with clone_semantics():
        y = x.clone()
        y[1:].mul_(y[:1])
        z = x.clone()
        z[1:] += z[:-1]
    assert y.tolist() == [0, 0, 0, 0, 0, 0]
    assert z.tolist() == [0, 1, 3, 5, 7, 9]


def test_writes_inside_an_autograd_function_are_seen():
    class Smear(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            x = x.clone()
            x[1:] = x[:-1]
            return x

    x = torch.arange(5.0, requires_grad=True)
    module = Function(Smear.apply)
    assert reference(module, (x,)).tolist() == [0, 0, 1, 2, 3]
    (overlap,) = find_overlaps(module, (x,))
    assert overlap.source == "x[1:] = x[:-1]"


def test_inputs_buffers_attributes_and_random_state_survive():
    class Cache(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(3))
            self.calls = 0
            self.history = []
            self.plain = torch.ones(2)

        def forward(self, x):
            self.seen.add_(x)
            self.plain.mul_(2)
            self.calls += 1
            self.history.append(x)
            x.add_(1)
            return x, self.seen, self.plain[1:], torch.rand(2)

    module, x = Cache(), torch.tensor([1.0, 2.0, 3.0])
    state = torch.random.get_rng_state()
    first, second = reference(module, (x,)), reference(module, (x,))
    find_overlaps(module, (x,))
    assert eager_difference(module, (x,)).max_abs == 0
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert first[0].tolist() == [2, 3, 4]
    assert first[1].tolist() == [1, 2, 3]
    assert first[2].tolist() == [2]
    assert x.tolist() == [1, 2, 3]
    assert (module.seen.tolist(), module.plain.tolist(), module.calls, module.history) == ([0] * 3, [1, 1], 0, [])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_state_survives_a_forward_that_raises():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(3))

        def forward(self, x):
            self.seen.add_(x)
            raise KeyError("no such key")

    module = Broken()
    with pytest.raises(ValidationError, match=r"forward \(test_overlap\.py:\d+\): KeyError: 'no such key'") as caught:
        reference(module, (torch.ones(3),))
    assert "float32 [3]" in str(caught.value.hint)
    assert module.seen.tolist() == [0, 0, 0]


def test_eager_difference_of_a_scalar_recurrence():
    def smear(x):
        x[1:, 4:].mul_(x[1:, 4:5])
        return {"y": x, "n": x.argmax()}

    module, x = Function(smear), torch.full((3, 8), 2.0)
    # x[1, 4] becomes 4 and, unless it was read first, multiplies the rest by 4 instead of 2.
    difference = eager_difference(module, (x,))
    assert difference.max_abs in (0.0, 4.0)
    assert difference.threads == torch.get_num_threads()
    assert difference.failure is None
    assert eager_difference(Function(lambda x: x * 2), (x,)).max_abs == 0


def test_eager_refusing_to_run_is_reported():
    difference = eager_difference(Function(lambda x: x[1:].add_(x[:-1])), (torch.randn(8),))
    assert difference.max_abs == math.inf
    assert "single memory location" in difference.failure


def test_nan_and_inf_coincide_or_count():
    module = Function(lambda x: x / 0)
    assert eager_difference(module, (torch.tensor([0.0, 1.0, -1.0]),)).max_abs == 0


def test_modules_without_in_place_operators_copy_nothing(monkeypatch):
    copied = []
    monkeypatch.setattr(torch.UntypedStorage, "clone", lambda self: copied.append(self))
    reference(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval(), (torch.randn(2, 4),))
    assert copied == []


def views():
    """Strided views of one small buffer: (shape, stride, offset)."""
    axis = st.tuples(st.integers(1, 4), st.integers(0, 6))
    return st.tuples(st.lists(axis, max_size=3), st.integers(0, 6))


@settings(max_examples=300)
@given(views(), views())
def test_sharing_is_decided_as_by_enumeration(first, second):
    buffer = torch.zeros(100)

    def addresses(view):
        axes, offset = view
        return [offset + sum(i * s for i, (_, s) in zip(index, axes, strict=True)) for index in indices(axes)]

    def indices(axes):
        return itertools.product(*[range(size) for size, _ in axes])

    def tensor(view):
        axes, offset = view
        return buffer.as_strided([n for n, _ in axes], [s for _, s in axes], offset)

    a, b = tensor(first), tensor(second)
    assert share_memory(a, b) == bool(set(addresses(first)) & set(addresses(second)))
    if a.shape == b.shape:
        assert same_mapping(a, b) == (addresses(first) == addresses(second))


def test_generated_code_without_recorded_lines_names_no_line_of_the_caller():
    class Smear(nn.Module):
        def forward(self, x):
            return x[1:].copy_(x[:-1])

    module = torch.fx.symbolic_trace(Smear())
    (overlap,) = find_overlaps(module, (torch.randn(4),))
    assert (overlap.file, overlap.line, overlap.source) == ("<unknown>", 0, "")


def test_views_of_another_width_share_memory():
    x = torch.zeros(8)
    assert share_memory(x[:4].view(torch.uint8), x[3:])
    assert not share_memory(x[:4].view(torch.uint8), x[4:])
    assert not same_mapping(x.view(torch.int32), x)


def test_source_is_read_from_the_file(tmp_path: Path):
    file = tmp_path / "smear.py"
    file.write_text("def smear(x):\n    x[1:] = x[:-1]\n    return x\n")
    linecache.checkcache()
    namespace = {}
    exec(compile(file.read_text(), str(file), "exec"), namespace)
    (overlap,) = find_overlaps(Function(namespace["smear"]), (torch.randn(4),))
    assert (overlap.file, overlap.line, overlap.source) == (str(file), 2, "x[1:] = x[:-1]")
