"""Runs every form of data movement in `tests/forms` on every route and writes `docs/coverage.md`.

Run it with ``python benchmarks/coverage.py --output docs/coverage.md``. The exit code is 1 if a result is neither
free of scatters nor a refusal that its form expects and names. `coverage_routes.py` says what is measured; it runs in
worker processes, so that what kills one costs one result. ``--files DIR`` keeps the plain exports for another run.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from coverage_routes import CLEAN, FAILED, MODES, NO_FILE, REFUSED, SOURCES, Measurement
from forms import FORMS, TOPICS, Form
from forms.form import forms_of

HERE = Path(__file__).resolve().parent
PACKAGES = ("s2deploy", "torch", "onnx", "onnxscript", "onnx_ir", "onnxruntime")
LIMIT_S = 240.0
TITLES = {
    ("torch", "static"): "torch, static",
    ("torch", "dynamic"): "torch, dynamic",
    ("dynamo", "static"): "ONNX of `dynamo=True`, static",
    ("dynamo", "dynamic"): "ONNX of `dynamo=True`, dynamic",
    ("torchscript", "static"): "ONNX of `dynamo=False`, static",
    ("torchscript", "dynamic"): "ONNX of `dynamo=False`, dynamic",
}
LABELS = {"torch": "torch", "dynamo": "ONNX, dynamo", "torchscript": "ONNX, TorchScript"}


def main() -> None:
    """Runs the forms and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, help="the table to write; printed unless given")
    parser.add_argument("--files", type=Path, help="folder that keeps the plain exports for another run")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time (default 2)")
    parser.add_argument("forms", nargs="*", help="names of forms; all unless given")
    options = parser.parse_args()
    unknown = sorted(set(options.forms) - {form.name for form in FORMS})
    if unknown:
        parser.error(f"there is no form {', '.join(unknown)}")
    chosen = [form for form in FORMS if not options.forms or form.name in options.forms]
    with tempfile.TemporaryDirectory() as folder:
        files = options.files or Path(folder)
        files.mkdir(parents=True, exist_ok=True)
        results = measured(chosen, files, options.workers)
    text = document(results)
    if options.output is None:
        print(text)
    else:
        options.output.write_text(text, encoding="utf-8")
    failed = [result for result in results if result.verdict == FAILED]
    for result in failed:
        print(f"{result.form} {result.source} {result.mode}: {result.remark or 'scatters without a reason'}")
    print(f"{len(results)} results, {len(failed)} failed")
    sys.exit(1 if failed else 0)


def measured(forms: Iterable[Form], files: Path, workers: int) -> list[Measurement]:
    """Measures forms on every route.

    Args:
        forms: The forms.
        files: Where plain exports are kept.
        workers: How many processes run at a time.

    Returns:
        One measurement per form, source and mode, in order.
    """
    forms = list(forms)
    waiting: queue.SimpleQueue[Form] = queue.SimpleQueue()
    for form in forms:
        waiting.put(form)
    results: dict[str, list[Measurement]] = {}

    def work() -> None:
        with Worker(files) as worker:
            while True:
                try:
                    form = waiting.get_nowait()
                except queue.Empty:
                    return
                results[form.name] = [worker.measure(form.name, source, mode) for source in SOURCES for mode in MODES]
                print(f"{len(results)}/{len(forms)} {form.name}", file=sys.stderr, flush=True)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [result for form in forms for result in results[form.name]]


class Worker:
    """A process that measures one form after another, started anew when it dies."""

    def __init__(self, files: Path) -> None:
        self._command = [sys.executable, str(HERE / "coverage_routes.py"), str(files)]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def measure(self, form: str, source: str, mode: str) -> Measurement:
        """Returns what the process measured, or a failure that says how it ended."""
        if self._process is None:
            # Of its own session, it outlives no Ctrl-C: it ends when its input does, and is not taken for a crash.
            self._process = subprocess.Popen(
                self._command,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(LIMIT_S, process.kill)
        timer.start()
        print(form, source, mode, file=process.stdin, flush=True)
        answer = process.stdout.readline()
        late = not timer.is_alive()
        timer.cancel()
        if answer:
            return Measurement(**json.loads(answer))
        self._process = None
        code = process.wait()
        reason = f"took more than {LIMIT_S:.0f} s" if late else f"the process ended with code {code}"
        # The TorchScript exporter divides by the size of an empty slice.
        verdict = NO_FILE if source == "torchscript" and code == -signal.SIGFPE else FAILED
        return Measurement(form, source, mode, verdict, remark=reason)


def document(results: Sequence[Measurement]) -> str:
    """Returns the table and what it takes to read it."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    by_form: dict[str, list[Measurement]] = {}
    for result in results:
        by_form.setdefault(result.form, []).append(result)
    parts = [
        "# Coverage",
        f"{len(by_form)} forms in which people write data movement, on every route. Written on "
        f"{datetime.date.today().isoformat()} by",
        "```sh\npython benchmarks/coverage.py --output docs/coverage.md\n```",
        f"with Python {platform.python_version()} and {versions}. The forms are in `tests/forms/`.",
        READING,
        "## Totals",
        totals(results),
    ]
    for topic in TOPICS:
        forms = [form for form in forms_of(topic) if form.name in by_form]
        if forms:
            name = topic.__name__.rpartition(".")[2]
            parts += [f"## {name.capitalize()}", (topic.__doc__ or "").strip(), table(forms, by_form)]
    return "\n\n".join(parts) + "\n"


READING = """A form has three rows. *torch* is the module, given to `s2deploy export`; its numbers before are those of
plain `torch.onnx.export(dynamo=True)`, its difference is that from PyTorch under clone semantics. *ONNX* is a file that
plain `torch.onnx.export` has made of the module, with `dynamo=True` and with `dynamo=False`; its difference is that
from the file. *Static* means typical sizes, *dynamic* the ranges beside the form's name, and the difference is the
worst absolute one at their smallest, typical, largest and an odd size. Nodes are counted without Constant. What a run
decides, and what adds up, must stay a scatter: there the reason is named. "No file": torch's exporter made none, or one
that does not run at these sizes; the remark is what it said."""


def totals(results: Sequence[Measurement]) -> str:
    """Returns a table with one row per route."""
    rows = [
        "| route | results | no scatter left | refused, with the reason | no file | failed | scatters | nodes | "
        "worst difference |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (source, mode), title in TITLES.items():
        route = [result for result in results if (result.source, result.mode) == (source, mode)]
        verdicts = Counter(result.verdict for result in route)
        known = [result for result in route if None not in (*result.scatters, *result.nodes)]
        scatters, nodes = (
            arrow(*(sum(getattr(result, field)[i] or 0 for result in known) for i in range(2)))
            for field in ("scatters", "nodes")
        )
        worst = max((result.worst for result in route if result.worst is not None), default=None)
        counts = " | ".join(str(verdicts[name]) for name in (CLEAN, REFUSED, NO_FILE, FAILED))
        rows.append(f"| {title} | {len(route)} | {counts} | {scatters} | {nodes} | {difference(worst)} |")
    return "\n".join(rows)


def table(forms: Sequence[Form], results: dict[str, list[Measurement]]) -> str:
    """Returns the table of a topic, three rows per form."""
    rows = [
        "| form | route | scatters, static | nodes | difference | scatters, dynamic | nodes | difference | remarks |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for form in forms:
        title = f"**{form.name}** {code(form.title)}<br>{' '.join(map(code, form.texts))}"
        for source in SOURCES:
            static, dynamic = (result for result in results[form.name] if result.source == source)
            cells = [cell for result in (static, dynamic) for cell in cells_of(result)]
            rows.append(f"| {title} | {LABELS[source]} | {' | '.join(cells)} | {remarks(static, dynamic)} |")
            title = ""
    return "\n".join(rows)


def cells_of(result: Measurement) -> tuple[str, str, str]:
    """Returns scatters, nodes and difference; the verdict instead where there are none."""
    if result.verdict in (NO_FILE, FAILED):
        return result.verdict, arrow(*result.nodes), difference(result.worst)
    return arrow(*result.scatters), arrow(*result.nodes), difference(result.worst)


def remarks(static: Measurement, dynamic: Measurement) -> str:
    """Returns the remarks of both modes, once if they are the same."""
    if static.remark == dynamic.remark:
        return cell(static.remark)
    return "<br>".join(f"{result.mode}: {cell(result.remark)}" for result in (static, dynamic) if result.remark)


def arrow(before: int | None, after: int | None) -> str:
    """Returns numbers before and after."""
    return " → ".join("–" if number is None else str(number) for number in (before, after))


def difference(worst: float | None) -> str:
    """Returns a difference, 0 where there is none."""
    return "–" if worst is None else "0" if worst == 0 else f"{worst:.1e}"


def code(text: str) -> str:
    """Returns text as code in a cell."""
    return f"`{cell(text)}`"


def cell(text: str) -> str:
    """Returns text that a cell can hold."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    main()
