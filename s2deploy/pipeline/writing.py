"""From the graph of a source to the file: rewritten, written, proven, and only then put in its place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sized
from dataclasses import replace
from pathlib import Path

from s2deploy import onnx_file
from s2deploy.accuracy import Comparison
from s2deploy.artifacts import staged
from s2deploy.errors import S2DeployError
from s2deploy.metadata import Metadata
from s2deploy.pipeline.proof import Proof
from s2deploy.pipeline.proof import describe as describe_comparison
from s2deploy.pipeline.source import Prepared
from s2deploy.pipeline.withdrawing import Attempt, Search, attempt
from s2deploy.report import Reporter, Stage, format_bytes
from s2deploy.rewrite import Change, Pass
from s2deploy.specs import Runtime

_CHECK = "run the original with onnxruntime alone"
_UNPROVEN = "--no-validate writes the file without a proof"
_REPORT = "please report the model"
_GIVEN_UP = "the search for what is wrong was given up: the file has only the rewrites before it"


def rewrite_and_write(
    prepared: Prepared,
    output: Path,
    folder: Path,
    proof: Proof | None,
    describe: Callable[[Attempt], Metadata],
    reporter: Reporter,
    runtime: Runtime,
    passes: tuple[Pass, ...],
) -> tuple[Attempt, int, tuple[str, ...]]:
    """Rewrites a graph and writes it if it is right; rewrites that are wrong are left out.

    Args:
        prepared: The graph.
        output: The file to write.
        folder: A folder for drafts.
        proof: Compares files with the original; None where that is not wanted.
        describe: Returns the metadata of the file.
        reporter: Told about every stage.
        runtime: What the file is to be fast on.
        passes: The rewrites to run, in order.

    Returns:
        What was written, or what was wrong with it; the size of the files in bytes; and what the user should know.

    Raises:
        RewriteError: The graph is none that can be rewritten.
        ValidationError: The original raised.
        ArtifactError: The file cannot be written.
    """
    with reporter.stage("rewrite", "rewriting data movement") as stage:
        done = attempt(prepared.model, prepared.ranges, runtime=runtime, passes=passes)
        stage.detail = _describe(done)
    with staged(output) as path:
        size_bytes = 0
        if done.broke is None:
            done, size_bytes = _write(done, path, proof, describe, reporter)
        remarks: tuple[str, ...] = ()
        if not done.is_right:
            _discard(path.parent)
            with reporter.stage("withdraw", "looking for what is wrong") as stage:
                done, remarks = _withdraw(prepared, done, folder, proof, stage, runtime, passes)
                stage.detail = f"{len(done.report.withdrawn)} withdrawn, {_describe(done)}"
                stage.notes += remarks
            if done.refused is not None:
                raise done.refused
            if done.is_right:
                done, size_bytes = _write(done, path, proof, describe, reporter)
            if done.refused is not None:
                raise done.refused
        if not done.is_right:
            _discard(path.parent)
    return done, size_bytes, remarks


def _write(
    done: Attempt, path: Path, proof: Proof | None, describe: Callable[[Attempt], Metadata], reporter: Reporter
) -> tuple[Attempt, int]:
    """Writes and proves the file; what its proof raised is part of the result."""
    done.model.metadata_props.update(describe(done).to_props())
    with reporter.stage("write", "writing the ONNX file") as stage:
        onnx_file.write(done.model, path)
        size_bytes = sum(file.stat().st_size for file in path.parent.iterdir())
        stage.detail = format_bytes(size_bytes)
    if proof is not None:
        with reporter.stage("validate", "comparing outputs on onnxruntime") as stage:
            done = _proven(done, path, proof, stage)
            if done.comparison is not None:
                stage.detail = describe_comparison(done.comparison)
            else:
                stage.detail = "the file does not run"
    return done, size_bytes


def _withdraw(
    prepared: Prepared,
    failed: Attempt,
    folder: Path,
    proof: Proof | None,
    stage: Stage,
    runtime: Runtime,
    passes: tuple[Pass, ...],
) -> tuple[Attempt, tuple[str, ...]]:
    """Leaves out what is wrong; see `withdrawing.py`."""

    def tries(without: Collection[Change], most: int | None) -> Attempt:
        tried = attempt(prepared.model, prepared.ranges, without, most, runtime, passes)
        if tried.broke is not None or proof is None:
            return tried
        draft = folder / "draft"
        draft.mkdir()
        try:
            onnx_file.write(tried.model, draft / "model.onnx")
            return _proven(tried, draft / "model.onnx", proof, stage)
        finally:
            _discard(draft)
            draft.rmdir()

    search = Search(tries)
    found = search.settle(failed)
    if not found.is_right:
        # The source itself is what differs: the rewrite is not to blame, and its comparison is the one to show.
        return failed if failed.comparison is not None else found, ()
    withdrawn = tuple(search.withdrawn.values())
    found.report.withdrawn = withdrawn
    remarks = [f"withdrawn: {entry.change}: {entry.reason}; {_REPORT}" for entry in withdrawn]
    return found, (*remarks, *([] if search.finished else [f"{_GIVEN_UP}; {_REPORT}"]))


def _proven(done: Attempt, path: Path, proof: Proof, stage: Stage) -> Attempt:
    try:
        proof.run_original(stage)
    except S2DeployError as error:
        raise type(error)(error.message, hint=f"{error.hint or _CHECK}; {_UNPROVEN}") from error
    try:
        comparison: Comparison = proof.compare(path, stage, reordered=done.is_reordered)
    except S2DeployError as error:
        return replace(done, refused=error)
    return replace(done, comparison=comparison)


def _describe(done: Attempt) -> str:
    if done.broke is not None:
        return f"broke down: {type(done.broke).__name__}: {done.broke}"
    report = done.report
    return (
        f"{_counted(report.rewrites, 'rewrite')}, {_counted(report.refusals, 'refusal')}, "
        f"nodes {report.nodes_before} -> {report.nodes_after}, "
        f"scatters {report.scatters_before} -> {report.scatters_after}"
    )


def _counted(parts: Sized, name: str) -> str:
    return f"{len(parts)} {name}{'' if len(parts) == 1 else 's'}"


def _discard(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
