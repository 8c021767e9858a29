"""A process that tries mutants: what kills it, blocks it or eats its memory is seen from outside."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

import onnx

from fuzzing.corrupt import corrupt
from fuzzing.mutate import mutate
from fuzzing.trial import Verdict, trial

_MEMORY_BYTES = 8 << 30
_LIMITS_S = {"original": 10.0, "candidate": 30.0}
_LIMIT_S = 20.0
_SLOW = "takes too long"
_PATIENCE = 10  # a stage may wait that many times longer than it may compute: for other processes, not for ever

_KINDS = (*["backend"] * 6, *["fixture"] * 6, *["program"] * 5, *["small"] * 2, "corner")

Corpus = Sequence[tuple[str, bytes]]


def mutant(corpus: Corpus, key: str) -> tuple[bytes, str]:
    """Returns the mutant of a key, always the same for the same corpus, and what was done to which seed."""
    rng = Random(key)
    kind = rng.choice(_KINDS)
    name, data = rng.choice([entry for entry in corpus if entry[0].startswith(kind)] or corpus)
    _, other = rng.choice(corpus)
    if rng.random() < 0.2:
        return corrupt(rng, data, other), f"{name}: bytes"
    model = onnx.ModelProto.FromString(data)
    others = [onnx.ModelProto.FromString(other)] if rng.random() < 0.05 else []
    try:
        done = mutate(rng, model, others)
        return model.SerializeToString(deterministic=True), f"{name}: {', '.join(done)}"
    except (TypeError, UnicodeError):  # protobuf holds no such value
        return data, f"{name}: nothing"


class Worker:
    """A process that tries one mutant after another, replaced when it dies or takes too long.

    Args:
        corpus: The seeds.
    """

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._corpus), daemon=True)
        self._process.start()
        theirs.close()

    def try_mutant(self, key: str) -> list[Verdict]:
        """Tries the mutant of a key."""
        verdicts: list[Verdict] = []
        skip = False
        while True:
            stage, ended = self._ask(key, skip)
            if isinstance(ended, list):
                return [*verdicts, *ended]
            self.close()
            self._start()
            if stage == "export" and ended == _SLOW and verdicts and verdicts[0].outcome.endswith(_SLOW):
                return [*verdicts, Verdict(f"{stage}: {ended}, as the original does")]
            outcome = Verdict(f"{stage}: {ended}", failed=stage != "original")
            if stage != "original":
                return [*verdicts, outcome]
            verdicts, skip = [outcome], True

    def _ask(self, key: str, skip: bool) -> tuple[str, Any]:
        """Returns the stage reached, and the verdicts or how the process ended."""
        self._pipe.send((key, skip))
        stage, began, computed = "mutate", time.monotonic(), self._computed_s()
        while True:
            if not self._pipe.poll(1):
                limit = _LIMITS_S.get(stage, _LIMIT_S)
                if self._computed_s() - computed > limit or time.monotonic() - began > _PATIENCE * limit:
                    return stage, _SLOW
                continue
            try:
                kind, said = self._pipe.recv()
            except (EOFError, OSError):
                self._process.join(5)
                return stage, f"the process died ({self._process.exitcode})"
            if kind == "verdicts":
                return stage, said
            stage, began, computed = said, time.monotonic(), self._computed_s()

    def _computed_s(self) -> float:
        """Returns the processor time of the process so far: wall time says little on a busy machine."""
        try:
            times = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        except OSError:  # it has ended
            return 0.0
        return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _serve(pipe: Connection, corpus: Corpus) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.setrecursionlimit(1000)
    while True:
        try:
            key, skip = pipe.recv()
        except EOFError:
            return
        data, _ = mutant(corpus, key)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mutant.onnx"
            path.write_bytes(data)
            verdicts = trial(path, Random(key), lambda stage: pipe.send(("stage", stage)), skip_original=skip)
        pipe.send(("verdicts", verdicts))
