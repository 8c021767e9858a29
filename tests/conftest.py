"""What all tests share: one thread per process, so that parallel tests do not fight for two cores."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the number of random modules to export."""
    parser.addoption("--programs", type=int, default=100, help="random modules to export in test_random_modules.py")
