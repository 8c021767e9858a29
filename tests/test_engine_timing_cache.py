"""The timing cache: whole or not at all, merged by parallel builds, never the end of a build."""

from __future__ import annotations

import errno
import multiprocessing
import os
from pathlib import Path

import pytest
from fake_builder import make

from s2deploy.engine.timing_cache import TimingCache

pytest.importorskip("polygraphy")


def config_with(*entries: str):
    config = make("10.16").IBuilderConfig()
    cache = config.create_timing_cache(" ".join(entries).encode())
    config.set_timing_cache(cache, ignore_mismatch=False)
    return config


def cache_in(folder: Path) -> TimingCache:
    return TimingCache(folder, "10.16.0", "NVIDIA RTX A6000-8.6")


def loaded_from(folder: Path) -> set[str]:
    config = config_with()
    cache_in(folder).load(config)
    return config.get_timing_cache()._entries


def save_many(folder: Path, worker: int) -> None:
    for step in range(10):
        cache_in(folder).save(config_with(f"{worker}.{step}"))


def test_what_is_saved_is_loaded_and_grows(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "timings"
    cache_in(folder).save(config_with("a", "b"))
    cache_in(folder).save(config_with("c"))
    assert loaded_from(folder) == {"a", "b", "c"}
    assert cache_in(folder).path.name == "10.16.0-NVIDIA-RTX-A6000-8.6.timings"


def test_every_version_and_device_has_its_own(tmp_path: Path) -> None:
    cache_in(tmp_path).save(config_with("a"))
    config = config_with()
    TimingCache(tmp_path, "10.16.0", "another-9.0").load(config)
    assert config.get_timing_cache()._entries == set()


def test_parallel_builds_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=save_many, args=(tmp_path, number)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    assert loaded_from(tmp_path) == {f"{worker}.{step}" for worker in range(3) for step in range(10)}


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: b"", lambda data: data[:40] + b"!" + data[41:]]
)
def test_a_damaged_cache_starts_anew(tmp_path: Path, damage) -> None:
    cache_in(tmp_path).save(config_with("a", "some longer entry"))
    path = cache_in(tmp_path).path
    path.write_bytes(damage(path.read_bytes()))
    assert loaded_from(tmp_path) == set()
    cache = cache_in(tmp_path)
    cache.load(config_with())
    cache.save(config_with("b"))
    assert cache.remarks == [f"the timing cache {path} is damaged, so it starts anew"]
    assert loaded_from(tmp_path) == {"b"}


def test_measurements_tensorrt_does_not_take_are_dropped(tmp_path: Path) -> None:
    cache_in(tmp_path).save(config_with("a"))
    config = config_with("before")
    real = config.create_timing_cache
    object.__setattr__(config, "create_timing_cache", lambda data: real(data) if not data else None)
    cache = cache_in(tmp_path)
    cache.load(config)
    assert "is from another TensorRT or GPU" in cache.remarks[0]
    assert config.get_timing_cache()._entries == set()


def test_a_full_disk_costs_the_measurements_and_not_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache_in(tmp_path).save(config_with("a"))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        cache = cache_in(tmp_path)
        cache.save(config_with("b"))
    assert cache.remarks == [f"the timing cache {cache.path} was not saved: No space left on device"]
    assert loaded_from(tmp_path) == {"a"}
    assert {path.name for path in tmp_path.iterdir()} == {cache.path.name, cache.path.name + ".lock"}
