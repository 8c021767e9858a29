"""The statements of random programs: views, sources that fit a destination, writes, and movement out of place."""

from __future__ import annotations

from collections.abc import Callable

import torch
from random_modules import Program, Shape, Size, Writer, is_dynamic


def write_program(w: Writer, data_dependent: bool) -> Program:
    """Writes a program, with statements that depend on data where that is asked for."""
    if w.sometimes(3):
        w.define(f"{w.variable()}.clone()")
    for _ in range(w.number(1, 9)):
        w.choice(_STATEMENTS)(w)
    if data_dependent:
        _data_dependent(w)
    if not w.written:
        _assign(w)
    return w.finish()


def _index(w: Writer, name: str, shape: Shape) -> str:
    """Draws what stands in the brackets behind a name."""
    pieces = [_piece(w, f"{name}.shape[{axis}]", size) for axis, size in enumerate(shape)]
    if w.sometimes(8):
        pieces.insert(w.number(0, len(pieces)), "None")
    if w.sometimes(2):
        while len(pieces) > 1 and pieces[-1] == ":":
            pieces.pop()
    elif len(pieces) > 1 and pieces[0] == ":":
        while len(pieces) > 1 and pieces[0] == ":":
            pieces.pop(0)
        pieces.insert(0, "...")
    return ", ".join(pieces) or "..."


def _piece(w: Writer, size_of: str, size: Size) -> str:
    least = min(size)
    if least == 0 or not w.sometimes(2):
        return ":"
    if w.sometimes(4):
        return str(w.number(-least, least - 1))
    if is_dynamic(size):
        if least < 4:
            return ":"
        start = w.number(0, min(2, least - 3))
        less = w.number(1, min(2, least - start - 2))
        ends = ["", f"-{less}", f"{size_of} - {less}", str(w.number(start + 1, least)), f"{size_of} // 2 + {start}"]
        return f"{start or ''}:{w.choice(ends)}"
    start, end = w.number(-least, least), w.number(-least, least + 1)
    step = w.choice(["", "", "", ":2", ":3"])
    return f"{w.choice(['', start, start])}:{w.choice(['', end, end])}{step}"


def _region(w: Writer, name: str, shape: Shape) -> str | None:
    """Draws a part of a variable that broadcasts to a shape."""
    own = w.shape(name)
    if own is None:
        return None
    permuted = ""
    if len(own) > 1 and w.sometimes(5):
        order = w.order(len(own))
        permuted, own = f".permute({', '.join(map(str, order))})", tuple(own[axis] for axis in order)
    dropped = max(len(own) - len(shape), 0)
    drop = {w.number(0, len(own) - 1) for _ in range(dropped)}
    drop |= set([axis for axis in range(len(own)) if axis not in drop][: dropped - len(drop)])
    pieces: list[str] = []
    wanted = list(shape)[::-1]
    for axis in reversed(range(len(own))):
        if axis in drop:
            if min(own[axis]) == 0:
                return None
            pieces.append(str(w.number(-min(own[axis]), min(own[axis]) - 1)))
            continue
        piece = _part(w, own[axis], wanted.pop(0))
        if piece is None:
            return None
        pieces.append(piece)
    return f"{name}{permuted}[{', '.join(reversed(pieces)) or '...'}]"


def _part(w: Writer, own: Size, wanted: Size) -> str | None:
    """Draws a slice of an axis that has the wanted size, or size 1."""
    differences = {mine - theirs for mine, theirs in zip(own, wanted, strict=True)}
    if differences == {0}:
        return ":" if not w.sometimes(8) or min(own) == 0 else "0:1"
    if not is_dynamic(wanted) and min(own) >= wanted[0]:
        step = w.choice([1, 1, 1, 2]) if not is_dynamic(own) else 1
        if min(own) < (wanted[0] - 1) * step + 1:
            step = 1
        start = w.number(0, max(min(own) - (wanted[0] - 1) * step - 1, 0)) if wanted[0] else 0
        end = min(start + (wanted[0] - 1) * step + 1, min(own)) if wanted[0] else start
        return f"{start or ''}:{end}{f':{step}' if step > 1 else ''}"
    if len(differences) == 1 and min(differences) > 0:
        less = differences.pop()
        start = w.number(0, less)
        return f"{start or ''}:{start - less or ''}"
    return "0:1" if min(own) else None


def _constant(w: Writer, dtype: torch.dtype) -> str:
    if dtype == torch.bool:
        return str(w.choice([True, False]))
    return str(w.choice([0, 1, -2, 3] if not dtype.is_floating_point else [0, 1, -2, 0.5]))


def _source(w: Writer, shape: Shape, dtype: torch.dtype) -> tuple[str, bool]:
    """Draws something that can be assigned to a shape, and whether it is only moved."""
    for _ in range(4):
        name = w.variable()
        region = _region(w, name, shape)
        if region is None:
            continue
        values = w.tensors(region)
        if values is None:
            continue
        same = values[0].dtype == dtype
        kind = w.choice(["", "", "", "flip", "roll", "clone", "arithmetic"])
        rank = values[0].dim()
        if kind in ("flip", "roll") and rank and values[0].numel():
            axis = w.number(0, rank - 1)
            return f"{region}.{kind}({f'{axis}' if kind == 'flip' else f'{w.number(-2, 2)}, {axis}'})", same
        if kind == "clone":
            return f"{region}.clone()", same
        if kind == "arithmetic" and values[0].dtype != torch.bool:
            return f"{region} {w.choice(['* 2', '+ 1', '- 3'])}", False
        return region, same
    if shape and not is_dynamic(shape[-1]) and w.sometimes(2):
        numbers = [_constant(w, dtype) for _ in range(shape[-1][0])]
        return f"torch.tensor([{', '.join(numbers)}], dtype={dtype})", True
    return _constant(w, dtype), True


def _mask(w: Writer, shape: Shape) -> str | None:
    """Draws a mask that broadcasts to a shape: computed, an input, or constant."""
    if shape and not is_dynamic(shape[-1]) and w.sometimes(4):
        return f"torch.tensor({[bool(w.number(0, 1)) for _ in range(shape[-1][0])]})"
    name = w.variable()
    region = _region(w, name, shape)
    if region is None or w.tensors(region) is None:
        return None
    return region if w.dtype(name) == torch.bool else f"({region} > {_constant(w, w.dtype(name))})"


def _destination(w: Writer) -> tuple[str, str, Shape] | None:
    """Draws a variable, a part of it, and the part's shape."""
    name = w.variable()
    own = w.shape(name)
    assert own is not None
    place = f"{name}[{_index(w, name, own)}]"
    shape = w.shape(place)
    return None if shape is None else (name, place, shape)


def _assign(w: Writer) -> None:
    chosen = _destination(w)
    if chosen is None:
        return
    name, place, shape = chosen
    source, moved = _source(w, shape, w.dtype(name))
    method = w.choice([f"{place} = {source}", f"{place} = {source}", f"{place}.copy_({source})"])
    if not source.startswith(("t", "x", "y", "m")):
        method = w.choice([f"{place} = {source}", f"{place}.fill_({source})"])
    w.write(method, name, moved)


def _arithmetic(w: Writer) -> None:
    chosen = _destination(w)
    if chosen is None:
        return
    name, place, shape = chosen
    dtype = w.dtype(name)
    if dtype == torch.bool:
        w.write(w.choice([f"{place}.logical_not_()", f"{place} ^= True", f"{place}.zero_()"]), name)
        return
    source, _ = _source(w, shape, dtype)
    number = _constant(w, dtype)
    relu = f"{place}.relu_()" if dtype.is_floating_point else f"{place}.clamp_(max=2)"
    lines = [
        f"{place} += {source}", f"{place}.add_({source})", f"{place}.sub_({source})", f"{place}.mul_({number})",
        f"{place} *= {number}", f"{place}.clamp_(-1, 1)", f"{place}.clamp_(min=0)", relu, f"{place}.zero_()",
        f"{place}.neg_()", f"{place}.abs_()", f"{place}.copy_({source})",
    ]  # fmt: skip
    w.write(w.choice(lines), name, movement=False)


def _masked(w: Writer) -> None:
    chosen = _destination(w)
    if chosen is None:
        return
    name, place, shape = chosen
    mask = _mask(w, shape)
    if mask is None:
        return
    number = _constant(w, w.dtype(name))
    if shape and w.shape(mask) == shape and w.sometimes(2):  # a mask of one value is a branch in Python
        w.write(f"{place}[{mask}] = {number}", name, movement=False)
    else:
        w.write(f"{place}.masked_fill_({mask}, {number})", name, movement=False)


def _indexed(w: Writer) -> None:
    """Writes rows given by a list of constants, none of them twice."""
    name = w.variable()
    shape = w.shape(name)
    if not shape:
        return
    axis = w.number(0, min(len(shape) - 1, 2))
    least = min(shape[axis])
    if least < 2:
        return
    start = w.number(0, least - 2)
    rows = list(range(start, w.number(start + 1, least)))
    if w.sometimes(3):
        rows = w.order(least)[: w.number(1, least)]
    part = (*shape[:axis], (len(rows),) * len(shape[axis]), *shape[axis + 1 :])
    source, moved = _source(w, part, w.dtype(name))
    colons = ":, " * axis
    lines = [f"{name}[{colons}{rows}] = {source}"]
    if not axis and source.startswith(("t", "x", "y", "m")):
        lines.append(f"{name}.index_put_((torch.tensor({rows}),), {source})")
        lines.append(f"{name}.index_copy_(0, torch.tensor({rows}), ({source}).expand_as({name}[{rows}]))")
    lines.append(f"{name}.index_fill_({axis}, torch.tensor({rows}), {_constant(w, w.dtype(name))})")
    w.write(w.choice(lines), name, moved)


def _loop(w: Writer) -> None:
    """Writes parts of an axis one after the other, as cost volumes do."""
    name, other = w.variable(), w.variable()
    shape, theirs = w.shape(name), w.shape(other)
    if not shape or not theirs or is_dynamic(shape[0]) or is_dynamic(theirs[0]):
        return
    count = min(shape[0][0], theirs[0][0], 3)
    offsets = min(count, *theirs[-1])  # a size is not captured where it may be smaller than the offset
    lines = [
        f"for i in range({count}): {name}[i] = {other}[-i]",
        f"for i in range({offsets}): {name}[i, ..., i:] = {other}[i, ..., :{other}.shape[-1] - i]",
        f"for i, part in enumerate({name}.unbind(0)): part.fill_({other}.dim() + i)",
        f"for i in range({count} - 1): {name}[i + 1] = {name}[i]",
    ]
    w.write(w.choice(lines), name, w.dtype(name) == w.dtype(other))


def _view(w: Writer) -> None:
    name = w.variable()
    shape = w.shape(name)
    assert shape is not None
    rank = len(shape)
    if not rank:
        return
    axis, other = w.number(0, rank - 1), w.number(0, rank - 1)
    size = min(shape[axis])
    low = w.number(0, max(size - 1, 0))
    parts = w.number(1, 3)
    order = ", ".join(map(str, w.order(rank)))
    views = [
        f"{name}[{_index(w, name, shape)}]", f"{name}[{_index(w, name, shape)}]",
        f"{name}.transpose({axis}, {other})", f"{name}.permute({order})", f"{name}.movedim({axis}, {other})",
        f"{name}.narrow({axis}, {low}, {w.number(0 if not is_dynamic(shape[axis]) else 1, max(size - low, 1))})",
        f"{name}.select({axis}, {low})", f"{name}.unbind({axis})[{low}]", f"{name}.unsqueeze({axis})",
        f"{name}.chunk({parts}, {axis})[{w.number(0, parts - 1)}]", f"{name}.split({parts}, {axis})[0]",
        f"{name}.squeeze({axis})", f"{name}.flatten({min(axis, other)}, {max(axis, other)})",
        f"{name}.view({name}.shape[0], -1)", f"{name}.reshape(-1)",
        f"{name}.unflatten({axis}, (-1, {parts}))", f"{name}.view({name}.shape)",
    ]  # fmt: skip
    expression = w.choice(views)
    if ("unbind" in expression or "split" in expression or "chunk" in expression) and is_dynamic(shape[axis]):
        return
    w.define(expression, base=name)


def _target(w: Writer) -> None:
    """Makes a new tensor to write into."""
    name = w.variable()
    number = _constant(w, w.dtype(name))
    targets = [
        f"torch.zeros_like({name})", f"{name}.clone()", f"torch.full_like({name}, {number})",
        f"{name}.new_zeros({name}.shape)", f"torch.ones_like({name})", f"{name}.new_full({name}.shape, {number})",
        f"torch.zeros({name}.shape, dtype={w.dtype(name)})", f"{name}.to(torch.float32)", f"{name}.to(torch.int64)",
    ]  # fmt: skip
    w.program.movement &= w.define(w.choice(targets)) is None or "to(" not in w.program.lines[-1]


def _empty(w: Writer) -> None:
    """Makes a tensor of undefined content and writes all of it."""
    name = w.variable()
    shape = w.shape(name)
    assert shape is not None
    source, moved = _source(w, shape, w.dtype(name))
    made = w.define(w.choice([f"torch.empty_like({name})", f"{name}.new_empty({name}.shape)"]))
    if made is None:
        return
    if not w.write(f"{made}[...] = {source}", made, moved):
        w.write(f"{made}.zero_()", made)
    w.join_lines()  # what is undefined must not be returned by a shortened program


def _moved(w: Writer) -> None:
    """Moves data out of place."""
    name = w.variable()
    shape = w.shape(name)
    if not shape:
        return
    axis = w.number(0, len(shape) - 1)
    part = shape[:axis] + shape[axis + 1 :]
    row, moved = _source(w, part, w.dtype(name))
    low = w.number(0, max(min(shape[axis]) - 1, 0))
    new = [
        f"torch.cat([{name}, {name}.flip({axis})], {axis})", f"torch.stack([{name}, {name}], {axis})",
        f"{name}.roll({w.number(-2, 2)}, {axis})", f"{name}.flip({axis})", f"{name}.repeat_interleave(2, {axis})",
        f"F.pad({name}, ({w.number(-1, 2)}, {w.number(-1, 2)}))", f"{name}.expand(2, *{name}.shape)",
        f"{name}.repeat({', '.join(['1'] * axis + ['2'] + ['1'] * (len(shape) - axis - 1))})",
        f"torch.select_scatter({name}, ({row}).to({name}.dtype).expand_as({name}.select({axis}, 0)), {axis}, {low})"
        if row.startswith(("t", "x", "y", "m")) else f"{name}.flip({axis})",
        f"torch.slice_scatter({name}, {name}.narrow({axis}, 0, 1), {axis}, {low}, {low} + 1)",
        f"torch.where({name} > 0, {name}, {name}.flip({axis}))",
    ]  # fmt: skip
    expression = w.choice(new)
    if w.define(expression) is not None:
        w.program.movement &= moved and "where" not in expression


def _data_dependent(w: Writer) -> None:
    """Writes rows that the values of a tensor choose."""
    name, other = w.variable(), w.variable()
    shape = w.shape(name)
    if not shape or min(shape[0]) < 1:
        return
    line = f"{name}[{other}.long().flatten() % {name}.shape[0]] = {_constant(w, w.dtype(name))}"
    w.program.removable &= not w.write(line, name, movement=False)


_STATEMENTS: tuple[Callable[[Writer], None], ...] = (
    _assign, _assign, _assign, _assign, _assign, _arithmetic, _arithmetic, _masked, _indexed, _loop,
    _view, _view, _view, _view, _target, _target, _empty, _moved, _moved,
)  # fmt: skip
