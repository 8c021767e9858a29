"""Ctrl-C that works at once, also while native code of torch, onnxruntime or TensorRT holds the main thread."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from s2deploy.artifacts import discard_staged

MESSAGE = "interrupted; no partial file is left"
_GRACE_SECONDS = 2.0
_OVER = b"\0"


@contextmanager
def prompt_interrupts() -> Iterator[None]:
    """Ends the process two seconds after SIGINT or SIGTERM even if Python gets no turn to raise the interrupt.

    Python delivers a signal only between bytecodes; one run of a large model is a single call that can last
    minutes. Unfinished files are removed first. Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    finished = threading.Event()
    previous_descriptor = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    previous_handler = signal.signal(signal.SIGTERM, _terminate)
    watcher = threading.Thread(target=_watch, args=(reading, finished), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        signal.signal(signal.SIGTERM, previous_handler)
        signal.set_wakeup_fd(previous_descriptor)
        os.write(writing, _OVER)
        watcher.join()
        os.close(writing)
        os.close(reading)


def _watch(reading: int, finished: threading.Event) -> None:
    while (received := os.read(reading, 1)) != _OVER:
        if received[0] in (signal.SIGINT, signal.SIGTERM) and not finished.wait(_GRACE_SECONDS):
            discard_staged()
            print(MESSAGE, file=sys.stderr, flush=True)
            os._exit(128 + received[0])


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signum)
