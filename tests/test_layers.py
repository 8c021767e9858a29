"""Imports point one way: values, then stages, then the pipeline, then the command line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "s2deploy"

VALUES = {"errors", "specs", "feeds"}
FILES = VALUES | {"artifacts", "onnx_file", "sidecar"}
ALLOWED = {
    "errors": set[str](),
    "specs": {"errors"},
    "feeds": {"errors", "specs"},
    "artifacts": {"errors"},
    "onnx_stream": set[str](),
    "onnx_sparse": {"errors"},
    "onnx_file": {"errors", "onnx_sparse", "onnx_stream"},
    "child_process": set[str](),
    "sidecar": {"errors", "artifacts"},
    "metadata": {"errors", "specs"},
    "environment": set[str](),
    "report": {"errors", "specs"},
    "assumptions": set[str](),
    "model": VALUES | {"artifacts", "environment"},
    "variables": set[str](),
    "overlap": VALUES | {"variables"},
    "exporter": VALUES | {"environment", "variables"},
    "ops": {"errors"},
    "rewrite": VALUES | {"ops"},
    "accuracy": VALUES,
    "benchmark": VALUES | {"environment"},
    "options": {"specs"},
    "precision": VALUES | {"artifacts", "environment", "onnx_file", "options", "ops"},
    "runtime": FILES | {"child_process", "environment"},
    "engine": FILES | {"precision", "child_process", "options", "ops", "environment"},
    "results": VALUES | {"report", "accuracy", "benchmark", "overlap", "rewrite"},
    "inspection": {"sidecar"},
    "plot": {"results"},
    "summary_bench": {"benchmark", "plot", "report", "results"},
    "summary_artifacts": {"assumptions", "inspection", "report", "results", "sidecar", "summary"},
    "summary_dry_run": {"engine", "report", "sidecar", "summary"},
    "summary": VALUES | {"assumptions", "report", "accuracy", "engine", "precision", "results", "sidecar"},
    "cli": {
        "errors",
        "specs",
        "artifacts",
        "environment",
        "options",
        "report",
        "summary",
        "summary_artifacts",
        "summary_bench",
        "summary_dry_run",
        "pipeline",
    },
    "__main__": {"cli"},
}
"""What each module or package may import of the others; `pipeline` and `__init__` may import everything but `cli`."""

HEAVY = {"torch", "onnxruntime", "tensorrt", "tensorrt_rtx", "polygraphy", "onnxscript"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def top(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Yields every imported module, those for annotations included; relative imports are not used here."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            if node.module == "s2deploy":
                yield from (f"s2deploy.{alias.name}" for alias in node.names)
            else:
                yield str(node.module)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    here = top(path)
    used = {name.split(".")[1] for name in imports(path) if name.startswith("s2deploy.")} - {here}
    if here in ("pipeline", "__init__"):
        assert "cli" not in used
    else:
        assert used <= ALLOWED[here], f"{path.name} may not import {sorted(used - ALLOWED[here])}"


def test_the_region_algebra_is_pure() -> None:
    foreign = {name.split(".")[0] for name in imports(PACKAGE / "rewrite" / "regions.py")}
    assert not foreign & (HEAVY | {"onnx", "onnx_ir"})


@pytest.mark.parametrize("package", sorted(HEAVY))
def test_heavy_packages_are_imported_in_few_places(package: str) -> None:
    users = {top(path) for path in modules() if any(name.split(".")[0] == package for name in imports(path))}
    owners = {
        "torch": {"__init__", "model", "overlap", "exporter", "runtime", "pipeline", "variables"},
        "onnxruntime": {"runtime", "precision", "engine", "rewrite"},
        "tensorrt": {"engine"},
        "tensorrt_rtx": {"engine"},
        "polygraphy": {"accuracy", "engine"},
        "onnxscript": {"exporter"},
    }
    assert users <= owners[package]


def test_the_whole_table_is_in_use() -> None:
    assert set(ALLOWED) <= {top(path) for path in modules()}


def test_cores_are_counted_in_one_place() -> None:
    counting = {path.name for path in modules() if "sched_getaffinity" in path.read_text(encoding="utf-8")}
    assert counting == {"environment.py"}
