"""What in the user's code fixes a size or asks for the values of a tensor, read off the line, and what to write there.

torch's messages name the operator that noticed. The line itself tells more: `int()`, a loop, a position in an index.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterator
from traceback import FrameSummary
from typing import Any

from s2deploy.exporter.provenance import asking_frame, running_frame

_FIXES_A_SIZE = (
    (r"\brange\(|\bfor\b", "do without the loop over the size, which is unrolled for one number of steps"),
    (r"\bmath\.sqrt\(|\bnp\.sqrt\(", "write size ** 0.5 instead of sqrt()"),
    (r"\bmath\.|\bnp\.|\bnumpy\.", "compute with x.shape directly, without math or numpy"),
    (r"\bint\(|\bfloat\(|\bround\(", "compute with x.shape directly: // instead of / and int()"),
    (r"\blen\(", "write x.shape[0] instead of len(x)"),
)
_OTHERWISE = "compute with x.shape directly, without int() or a loop over it"

_SLICES = r"\[[^\]]*:[^\]]*\]"

_DECIDES_BY_VALUES = (
    (
        r"^[^=]*\[[^\]]*\]\s*[-+*/]?=[^=]",
        "assigns at a position that is computed from data",
        "make the position a tensor of rank 1 and write with index_copy_(dim, position, value), or with "
        "torch.where(torch.arange(size) == position, value, cache); a cache that is to last from run to run is an "
        "input and an output of fixed size",
    ),
    (
        r"\.item\(\)|\.tolist\(\)|\bint\(|\bfloat\(|\bbool\(",
        "takes a number out of a tensor",
        "keep it a tensor (index_select, torch.where, a comparison with torch.arange), or make it a setting of the "
        "model or a size of an input",
    ),
    (
        r"\bnonzero\b|masked_select|\bunique\b|\[[^\]]*(mask|keep|valid)|\[[^\]]*[<>]",
        "makes a tensor whose size is computed from data",
        "keep the size: torch.where(mask, x, fill), x * mask, or topk with a fixed k",
    ),
)
_BRANCHES = (
    "decides by the values of a tensor, which an exported graph cannot",
    "use torch.where for both outcomes, torch.cond to branch, or make it a setting of the model",
)


def how_to_keep_size(frame: FrameSummary | None, *, asks: bool) -> str:
    """Returns what to write so that a size stays dynamic.

    Args:
        frame: The line that fixes it; None where it is not known.
        asks: Whether the line looks at the size itself; otherwise it runs an operator that takes no other size.
    """
    line = "" if frame is None else _source(frame)
    if frame is None or asks:
        return next((advice for pattern, advice in _FIXES_A_SIZE if re.search(pattern, line)), _OTHERWISE)
    if re.search(_SLICES, line):
        return "give the tensor that this line slices more room; torch takes a slice that is all of it for a fixed size"
    return "make this line right for other sizes"


def how_values_decide(line: str) -> tuple[str, str]:
    """Returns what a line does that an exported graph cannot, and what to write there.

    Args:
        line: The text of the line.
    """
    if re.match(r"(if|elif|while|assert)\b", line):
        return _BRANCHES
    found = next(((what, advice) for pattern, what, advice in _DECIDES_BY_VALUES if re.search(pattern, line)), None)
    return found or _BRANCHES


def pinning_frames(environment: Any, *, asks: bool = True) -> Iterator[tuple[frozenset[Any], FrameSummary]]:
    """Yields the symbols that a line of the user's sets equal to a number, and the line.

    Args:
        environment: What torch knows of a program's sizes.
        asks: Whether the line looks at the size itself; otherwise it runs an operator that does.
    """
    import sympy  # type: ignore[import-untyped]

    frame_of = asking_frame if asks else running_frame
    for symbol, value in environment.replacements.items():
        frame = frame_of(environment.replacements_slocs.get(symbol))
        if frame is not None and value.is_number:
            yield frozenset({symbol}), frame
    for guard in environment.guards:
        frame = frame_of(guard.sloc)
        if frame is not None and isinstance(guard.expr, sympy.Eq) and any(side.is_number for side in guard.expr.args):
            yield frozenset(guard.expr.free_symbols), frame


def _source(frame: FrameSummary) -> str:
    return (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip()
