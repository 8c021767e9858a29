"""The command line alone: speed, help, errors as messages, exit codes, interrupts. The pipeline is replaced."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from click.testing import CliRunner, Result

from s2deploy import pipeline
from s2deploy.cli import cli
from s2deploy.cli.interrupt import MESSAGE
from s2deploy.errors import ExportError, UsageError

EXPORT = ["export", "model.py:Model", "-o", "model.onnx"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def replace_export(monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any]) -> None:
    monkeypatch.setattr(pipeline, "export", function)


def raising(error: BaseException) -> Callable[..., NoReturn]:
    def function(*args: Any, **kwargs: Any) -> NoReturn:
        raise error

    return function


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from s2deploy.cli import cli\n"
        "try: cli(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnx', 'onnx_ir', 'onnxruntime', 'numpy', 'polygraphy', 'rich'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "s2deploy", "--help"], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # the processor's time: other tests run at the same time on the same cores
    assert min(seconds() for _ in range(5)) < 0.3


def test_importing_the_package_is_quick_too() -> None:
    code = "import sys, s2deploy; dir(s2deploy); sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("command", ["export", "validate", "build", "run", "inspect", "bench"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"s2deploy {command}" in result.stdout
    assert "--debug" in result.stdout
    assert "--json" in result.stdout


def test_the_version_is_that_of_the_package() -> None:
    assert run("--version").stdout.strip() == "s2deploy, version 0.1.0"


@pytest.mark.parametrize(
    "arguments",
    [["unknown"], ["export"], ["export", "model.py:Model"], [*EXPORT, "--opset", "x"], [*EXPORT, "--atol", "-1"]],
)
def test_wrong_usage_is_exit_code_2_without_a_traceback(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "rror: " in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("arguments", [["export", "--json"], [*EXPORT, "--json", "--opset", "x"], [*EXPORT, "--jso"]])
def test_with_json_wrong_usage_is_one_document_too(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    if "--json" in arguments:
        assert json.loads(result.stdout)["exit_code"] == 2
    else:
        assert result.stdout == ""


def test_an_unreadable_file_is_left_to_the_pipeline_which_reports_it_as_json_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *arguments: False)  # root reads everything
    (tmp_path / "model.onnx").touch()
    result = run("build", str(tmp_path / "model.onnx"), "-o", str(tmp_path / "model.plan"), "--json")
    assert json.loads(result.stdout)["exit_code"] == 1


@pytest.mark.parametrize("text", ["{", "[1]", "3", "{'a': 1}"])
def test_kwargs_that_are_no_json_object_are_wrong_usage(text: str) -> None:
    result = run(*EXPORT, "--kwargs", text)
    assert result.exit_code == 2
    assert "--kwargs" in result.stderr
    assert "hint: " in result.stderr


@pytest.mark.parametrize(("error", "code"), [(UsageError("no", hint="do"), 2), (ExportError("no", hint="do"), 1)])
def test_an_error_is_a_message_a_hint_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    replace_export(monkeypatch, raising(error))
    result = run(*EXPORT)
    assert result.exit_code == code
    assert result.stderr == "error: no\n  hint: do\n"
    assert result.stdout == ""


def test_with_json_an_error_is_one_document_on_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_export(monkeypatch, raising(ExportError("no", hint="do")))
    result = run(*EXPORT, "--json")
    assert json.loads(result.stdout) == {
        "error": {"type": "ExportError", "message": "no", "hint": "do"},
        "exit_code": 1,
    }
    assert result.stderr.startswith("error: no")


def test_a_fault_of_ours_asks_for_debug_and_shows_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_export(monkeypatch, raising(ZeroDivisionError("division by zero")))
    result = run(*EXPORT)
    assert result.exit_code == 1
    assert "error: unexpected ZeroDivisionError: division by zero" in result.stderr
    assert "--debug" in result.stderr
    assert "Traceback" not in result.stderr


def test_debug_shows_the_traceback_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    def function(*args: Any, **kwargs: Any) -> NoReturn:
        try:
            raise ValueError("below")
        except ValueError as error:
            raise ExportError("above") from error

    replace_export(monkeypatch, function)
    result = run(*EXPORT, "--debug")
    assert result.exit_code == 1
    assert "ValueError: below" in result.stderr
    assert result.stderr.endswith("error: above\n")


def test_running_out_of_memory_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_export(monkeypatch, raising(MemoryError("cannot allocate 9 GB")))
    result = run(*EXPORT)
    assert result.exit_code == 1
    assert "out of memory" in result.stderr
    assert "--input" in result.stderr


def test_ctrl_c_is_exit_code_130_and_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_export(monkeypatch, raising(KeyboardInterrupt()))
    result = run(*EXPORT)
    assert result.exit_code == 130
    assert result.stderr == MESSAGE + "\n"


_STUCK = """
import sys, time
from pathlib import Path
from s2deploy import cli, pipeline
from s2deploy.artifacts import staged

def export(model, output, **arguments):
    with staged(Path(output)) as path:
        path.write_bytes(b"half")
        print("ready", flush=True)
        {wait}

pipeline.export = export
sys.argv = ["s2deploy", "export", "model.py:Model", "-o", sys.argv[1]]
cli.main()
"""
_WAITS = {
    "python": "time.sleep(60)",
    # one long call of native code: the GIL is free, but Python gets no turn to raise KeyboardInterrupt
    "native": "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 2_000_000_000)",
}


@pytest.mark.parametrize("wait", _WAITS)
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_process_soon_and_leaves_no_file(
    tmp_path: Path, wait: str, signum: signal.Signals, code: int
) -> None:
    output = tmp_path / "model.onnx"
    process = subprocess.Popen(
        [sys.executable, "-c", _STUCK.format(wait=_WAITS[wait]), str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert any(tmp_path.iterdir())
    process.send_signal(signum)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == code
    assert "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_is_no_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "s2deploy", "export", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, stderr = process.communicate(timeout=20)
    assert b"Traceback" not in stderr


def test_with_json_an_interrupt_is_one_document_too(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_export(monkeypatch, raising(KeyboardInterrupt()))
    result = run(*EXPORT, "--json")
    assert result.exit_code == 130
    assert json.loads(result.stdout) == {
        "error": {"type": "KeyboardInterrupt", "message": MESSAGE, "hint": None},
        "exit_code": 130,
    }
