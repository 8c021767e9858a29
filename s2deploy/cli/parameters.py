"""Options that several commands share, and the values they are parsed into."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from s2deploy.cli.command import FILE, options
from s2deploy.errors import UsageError
from s2deploy.report import Reporter

source_options = options(
    click.option("--kwargs", metavar="JSON", help="Arguments of the factory, e.g. '{\"channels\": 96}'."),
    click.option("--weights", type=FILE, help="A state_dict for the factory's module: .pt or .safetensors."),
    click.option("--trust-pickle", is_flag=True, help="Let code pickled into files run: only if you trust them."),
)

tolerance_options = options(
    click.option("--atol", type=float, help="Allowed difference as a share of the largest output [default: 1e-4]."),
    click.option("--rtol", type=float, help="Allowed relative difference of each value [default: 1e-3]."),
)


def parse_kwargs(text: str | None) -> dict[str, Any] | None:
    """Parses ``--kwargs``; None where it was not given.

    Raises:
        UsageError: The text is not a JSON object.
    """
    if text is None:
        return None
    hint = "write e.g. --kwargs '{\"channels\": 96}'"
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"--kwargs is not JSON: {error}", hint=hint) from error
    if not isinstance(value, dict):
        raise UsageError(f"--kwargs {text} is not a JSON object", hint=hint)
    return value


def reporter_for(*, as_json: bool) -> Reporter:
    """Returns a reporter on stdout, or on stderr where stdout is for JSON."""
    return Reporter(sys.stderr if as_json else sys.stdout)
