"""What every command shares: errors as messages and exit codes, Ctrl-C, ``--debug`` and ``--json``.

Exit codes: 0 good; 1 the work failed or outputs differ; 2 wrong usage; 130 interrupted; 143 terminated.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from s2deploy.errors import S2DeployError

F = TypeVar("F", bound=Callable[..., Any])

INTERRUPTED = 130
FILE = click.Path(path_type=Path, readable=False)  # an unreadable file gets an error of ours, as JSON too


class Command(click.Command):
    """A command with ``--json`` and ``--debug`` that ends in a message and an exit code, never in a traceback."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [
            click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document; all else goes to stderr."),
            click.Option(["--debug"], is_flag=True, help="Show tracebacks, and the warnings of the tools underneath."),
        ]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses the arguments; with ``--json`` among them, wrong ones are told as a document as well."""
        as_json = "--json" in args
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if as_json:
                _print_json(type(error).__name__, error.format_message(), f"see {ctx.command_path} --help", 2)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        from s2deploy.cli.interrupt import MESSAGE, prompt_interrupts
        from s2deploy.environment import quiet

        debug = ctx.params.pop("debug")
        as_json = ctx.params["as_json"]
        try:
            with prompt_interrupts(), quiet(enabled=not debug):
                return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(MESSAGE, err=True)
            if as_json:
                _print_json("KeyboardInterrupt", MESSAGE, None, INTERRUPTED)
            sys.exit(INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
            raise
        except Exception as error:
            _fail(_as_failure(error), error, as_json=as_json, debug=debug)


def _as_failure(error: Exception) -> S2DeployError:
    """Returns the error itself where it is meant for the user, otherwise one that says what to do about it."""
    if isinstance(error, S2DeployError):
        return error
    if isinstance(error, MemoryError):
        return S2DeployError(f"out of memory: {error}", hint="lower the largest sizes of --input")
    return S2DeployError(
        f"unexpected {type(error).__name__}: {str(error).strip() or 'no message'}",
        hint="this is a fault of s2deploy: run again with --debug and report the traceback",
    )


def _fail(failure: S2DeployError, error: Exception, *, as_json: bool, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exception(error)
    click.echo(f"error: {failure.message}", err=True)
    if failure.hint is not None:
        click.echo(f"  hint: {failure.hint}", err=True)
    if as_json:
        _print_json(type(error).__name__, failure.message, failure.hint, failure.exit_code)
    sys.exit(failure.exit_code)


def _print_json(kind: str, message: str, hint: str | None, exit_code: int) -> None:
    from s2deploy.report import to_json

    detail = {"type": kind, "message": message, "hint": hint}
    click.echo(to_json({"error": detail, "exit_code": exit_code}))


def options(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Returns one decorator that applies several options in the order given."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate
