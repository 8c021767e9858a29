"""What the process works in: its cores, and the tools underneath, which are kept silent.

Their warnings and logs are about their own internals, not the user's model.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_SILENT = logging.CRITICAL + 1


@contextmanager
def quiet(*, enabled: bool = True) -> Iterator[None]:
    """Hides the Python warnings and log records of libraries, and the native log of torch.

    Args:
        enabled: False leaves everything as it is, for ``--debug``.
    """
    if not enabled:
        yield
        return
    before = logging.root.manager.disable
    logging.disable(_SILENT)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def without_logs(name: str) -> Iterator[None]:
    """Hides what one logger says, its tracebacks of what is then raised or worked around included.

    Args:
        name: The logger, by the module that logs.
    """
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def usable_cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
