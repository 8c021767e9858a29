"""Random modules of slice assignments: exported, rewritten, and compared with clone semantics at several sizes.

``--programs N`` says how many; a failure prints the shortened program as a file to export.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from random_modules import Batch, Program, batches
from rewriting import session
from torch.utils import _pytree as pytree

from s2deploy.errors import S2DeployError
from s2deploy.exporter import capture, to_onnx
from s2deploy.feeds import Feed, interesting_sizes, random_feed
from s2deploy.overlap import reference
from s2deploy.rewrite import RewriteReport, rewrite
from s2deploy.specs import named_dims

PER_BATCH = 5
PER_BLOCK = 50
TOLERANCE = 1e-6
_LEFT = "scatters left"
_TELLING = 40


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "block" in metafunc.fixturenames:
        metafunc.parametrize("block", range(-(-metafunc.config.getoption("programs") // PER_BLOCK)))


def test_random_modules_export_exactly(block: int) -> None:
    drawn = 0

    @settings(
        max_examples=PER_BLOCK // PER_BATCH,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # a failing program is shortened line by line, which takes fewer exports
    )
    @seed(block)
    @given(batches(PER_BATCH))
    def run(batch: Batch) -> None:
        nonlocal drawn
        drawn += 1
        check(batch)

    run()
    assert drawn == PER_BLOCK // PER_BATCH


REPAIRED = {
    "a write into what unbind returns fixed the dynamic size": (
        ["m:2,width=6..8..12"],
        ["for i, part in enumerate(m.unbind(0)): part.fill_(3)"],
    ),
    "a slice from the start to a size computed at run time": (
        ["m:6,width=6..8..12,4"],
        ["m[:, : m.shape[1] // 2, 0] = m[0, :6, 0:1]"],
    ),
    "integers that count along one axis and not along a dynamic one": (
        ["m:2,height=5..6..9:int64"],
        ["for i, part in enumerate(m.unbind(0)): part.fill_(i)"],
    ),
    "a shift by nothing of a dynamic axis": (
        ["m:batch=1..2..3,width=6..8..12,2:bool"],
        ["m[0, :, ::2].copy_(m.permute(1, 2, 0)[:, :1, -1].roll(0, 0))"],
    ),
    "a squeeze of an axis that is not of size 1": (["m:6,4"], ["t = m.squeeze(1)", "t[1:] = t[:-1]"]),
    "several axes squeezed that are not of size 1": (["m:6,4"], ["t = m.squeeze((0, 1))", "t[1:] = t[:-1]"]),
}


@pytest.mark.parametrize(("inputs", "lines"), REPAIRED.values(), ids=REPAIRED)
def test_what_random_modules_found_stays_repaired(inputs: list[str], lines: list[str]) -> None:
    check(Batch(tuple(inputs), [Program(("m",), lines, ["m"])]))


def check(batch: Batch) -> None:
    """Asserts that a batch is exported without a difference, and without a scatter that nothing explains."""
    together = fault(batch)
    if not together:
        return
    for number in range(len(batch.programs)):
        alone = batch.alone(number)
        if found := fault(alone):
            pytest.fail(f"{found}{alone.shortened(partial(_has, found))!r}", pytrace=False)
    if not together.startswith(_LEFT):  # a scatter that may be left in one program may be left in the batch
        pytest.fail(f"together, not alone: {together}{batch!r}", pytrace=False)


def _has(kind: str, batch: Batch) -> bool:
    return fault(batch)[:_TELLING] == kind[:_TELLING]


def fault(batch: Batch) -> str:
    """Returns what is wrong with the export of a batch; nothing where the batch itself cannot run."""
    feeds = [random_feed(batch.specs, sizes) for sizes in interesting_sizes(batch.specs).values()]
    try:
        expected = [_expected(batch, feed) for feed in feeds]
    except (S2DeployError, NameError):
        return ""
    try:
        model, report = exported(batch)
        runner = session(ir.to_proto(model))
        names = [value.name for value in runner.get_inputs()]
        actual = [runner.run(None, {name: feed[name] for name in names}) for feed in feeds]
    except Exception as error:  # whatever it is, it is what the test is looking for
        return f"{type(error).__name__}: {error}"
    for wanted, got in zip(expected, actual, strict=True):
        if not all(_equal(first, second, moved) for (first, moved), second in zip(wanted, got, strict=True)):
            return "other results than clone semantics"
    if report.scatters_after and (len(batch.programs) > 1 or batch.programs[0].removable):
        return f"{_LEFT}: " + "; ".join(refusal.reason for refusal in report.refusals)
    return "scatters without a refusal" if report.scatters_after > len(report.refusals) else ""


def exported(batch: Batch) -> tuple[ir.Model, RewriteReport]:
    """Returns the rewritten model of a batch, and what the rewriter reports."""
    model = to_onnx(capture(batch.module(), batch.specs).program, batch.specs)
    return model, rewrite(model, named_dims(batch.specs))


def _expected(batch: Batch, feed: Feed) -> list[tuple[np.ndarray, bool]]:
    """Returns every output under clone semantics, and whether its data was only moved."""
    results = reference(batch.module(), [torch.from_numpy(array) for array in feed.values()])
    return [
        (tensor.detach().numpy(), batch.programs[int(number)].movement)
        for number, result in results.items()
        for tensor in pytree.tree_leaves(result)
    ]


def _equal(first: np.ndarray, second: np.ndarray, movement: bool) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if movement:
        return first.tobytes() == second.tobytes()
    return np.allclose(first, second, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
