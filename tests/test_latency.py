"""The latency benchmark: its models, what it makes of its results, and which runs it keeps."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from s2deploy.overlap import find_overlaps, reference
from s2deploy.specs import parse_inputs

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import blocks
import latency
import latency_report
from latency_workloads import COMPILE, DYNAMIC, DYNAMO, EAGER, FLOORS, OURS, QUICK, SCRIPT, WORKLOADS


def run(times: dict[str, float], threads: int = 1, group: str = "block", **fields: Any) -> dict[str, Any]:
    entries = [
        {
            "label": label,
            "median_ms": ms if threads > 1 else 3 * ms,
            "ratio": {"value": ms / times[OURS]},
            "cpu_ms": ms if threads == 1 else 2 * ms,
            "cpu_ratio": {"value": ms / times[OURS], "low": 0.95 * ms / times[OURS], "high": 1.05 * ms / times[OURS]},
            "agreement": {"passed": label not in FLOORS, "undefined": False},
        }
        for label, ms in times.items()
    ]
    conditions = {"load_average": 0.5, "processor": "a processor"}
    shown = {"title": f"model {times[OURS]}", "doubts": [], "conditions": conditions, "measurements": entries}
    return {"workload": "w", "threads": threads, "group": group} | shown | fields


def document(*runs: dict[str, Any]) -> dict[str, Any]:
    return latency.described(list(runs), "digest")


ONE = run({OURS: 2.0, EAGER: 4.0, COMPILE: 3.0, DYNAMO: 20.0, **dict.fromkeys(FLOORS, 1.6)})
TWO = run({OURS: 1.0, EAGER: 8.0, COMPILE: 9.0, DYNAMO: 40.0, **dict.fromkeys(FLOORS, 1.0)})


def test_means_are_geometric_and_the_floor_is_the_other_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency.metadata, "version", lambda name: "1")
    means = latency_report.means(document(ONE, TWO, run({OURS: 1.0, DYNAMO: 1.0}, group="style")))
    assert means[DYNAMO] == (pytest.approx(20.0), 10.0, 40.0)
    assert means[latency_report.BETTER] == (pytest.approx((1.5 * 8) ** 0.5), 1.5, 8.0)
    assert means[latency_report.FLOOR] == (pytest.approx(1.25**0.5), 1.0, 1.25)
    assert SCRIPT not in means
    assert latency_report.means(document(ONE, run({OURS: 1.0}))) == {}


def test_the_table_has_a_row_for_each_model_and_says_when_it_is_shaky(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency.metadata, "version", lambda name: "1")
    text = "\n".join(latency_report.readme_table(document(ONE, TWO)))
    assert "| model 2.0 | **2.00** | - | 4.00 | 3.00 | 20.0 | - | 1.60 |" in text
    assert f"| {DYNAMO} | 20.00 × (10.00 to 40.00) | - |" in text
    assert "haky" not in text
    assert "other outputs" not in text
    wrong = run({OURS: 2.0, DYNAMO: 4.0})
    wrong["measurements"][1]["agreement"]["passed"] = False
    wrong["measurements"][1]["cpu_ratio"]["high"] = 2.3
    shaky = "\n".join(latency_report.readme_table(document(wrong)))
    assert "1 of 1 runs, load average 0.5 to 0.5" in shaky
    assert f"Peers whose file gives other outputs: {DYNAMO} of model 2.0." in shaky


def test_the_table_goes_between_its_markers() -> None:
    before = f"a\n{latency_report.BEGIN}\nold\n{latency_report.END}\nb"
    once = latency_report.with_table(before, ["new"])
    assert once == f"a\n{latency_report.BEGIN}\n\nnew\n\n{latency_report.END}\nb"
    assert latency_report.with_table(once, ["new"]) == once
    with pytest.raises(ValueError, match="substring not found"):
        latency_report.with_table("a", ["new"])


def test_the_readme_has_the_markers() -> None:
    readme = latency.README.read_text(encoding="utf-8")
    assert readme.index(latency_report.BEGIN) < readme.index(latency_report.END)


def test_the_plot_shows_the_fastest_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency.metadata, "version", lambda name: "1")
    root = ElementTree.fromstring(latency_report.svg(document(ONE, run({OURS: 7.0}, threads=2))))
    texts = [entry.text for entry in root.iter() if entry.text]
    assert texts.count("matrix products alone") == 1
    assert {"model 2.0", OURS, EAGER, DYNAMO} <= set(texts)
    assert "model 7.0" not in texts


def test_a_run_of_other_sources_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "run-1.json").write_text(json.dumps({"digest": "old"}))
    assert latency.kept(tmp_path, 1, "old") == {"digest": "old"}
    assert latency.kept(tmp_path, 1, "new") is None
    assert latency.kept(tmp_path, 2, "old") is None


@pytest.mark.parametrize("workload", [*WORKLOADS, *QUICK], ids=lambda workload: workload.name)
def test_dynamic_inputs_hold_the_measured_size(workload: Any) -> None:
    (fixed,), (dynamic,) = parse_inputs([workload.fixed]), parse_inputs([workload.dynamic])
    assert fixed.shape({}) == dynamic.shape({}) == workload.shape
    assert DYNAMIC != OURS


@pytest.mark.parametrize(
    ("name", "shape", "overlaps"),
    [("S2Attention", (2, 8, 5, 3), 8), ("ShiftMlp", (1, 24, 4, 5), 0), ("TemporalShift", (16, 8, 3, 4), 0),
     ("ShiftedWindows", (1, 12, 14, 21), 0)],
)  # fmt: skip
def test_blocks_keep_their_shape_and_overlap_where_public_code_does(
    name: str, shape: tuple[int, ...], overlaps: int
) -> None:
    torch.manual_seed(0)
    module, x = getattr(blocks, name)(shape[1]).eval(), torch.randn(shape)
    assert reference(module, (x,)).shape == shape
    assert sum(overlap.count for overlap in find_overlaps(module, (x,))) == overlaps


def test_the_floor_is_the_two_products_of_the_block() -> None:
    rows, maps = blocks.ProductsOfRows(8), blocks.ProductsOfMaps(8)
    x = torch.randn(1, 8, 3, 2)
    assert [tuple(y.shape) for y in rows(x)] == [(6, 24), (6, 8)]
    assert [tuple(y.shape) for y in maps(x)] == [(1, 24, 3, 2), (1, 8, 3, 2)]
    with torch.no_grad():
        maps.expand.weight.copy_(rows.expand.weight[:, :, None, None])
    wanted = rows.expand(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(maps(x)[0], wanted)


def test_processor_times_are_for_one_thread_and_runs_of_more_are_shaky_by_their_doubts() -> None:
    assert latency_report.times(run({OURS: 2.0})) == {OURS: 2.0}
    assert latency_report.times(run({OURS: 2.0}, threads=2)) == {OURS: 2.0}
    assert not latency_report.is_shaky(run({OURS: 2.0}, doubts=["busy"]))
    assert latency_report.is_shaky(run({OURS: 2.0}, threads=2, doubts=["busy"]))
    unknown = run({OURS: 2.0}, doubts=["busy"])
    unknown["measurements"][0]["cpu_ms"] = None
    assert latency_report.times(unknown) == {OURS: 6.0}
    assert latency_report.is_shaky(unknown)
