"""Random and stored inputs."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from s2deploy.errors import ArtifactError, InputSpecError
from s2deploy.feeds import (
    check_feed,
    interesting_sizes,
    load_feed,
    random_feed,
    sizes_at,
    specs_from_feed,
)
from s2deploy.specs import DTYPES, TensorSpec, parse_inputs

SPECS = parse_inputs(["x:batch=1..8..64,16,height=4..14..64,width=4..14..64"])


def test_interesting_sizes_are_min_opt_max_and_an_odd_one() -> None:
    sizes = interesting_sizes(SPECS)
    assert list(sizes) == ["min", "opt", "max", "odd"]
    assert sizes["min"] == {"batch": 1, "height": 4, "width": 4}
    assert sizes["opt"] == {"batch": 8, "height": 14, "width": 14}
    assert sizes["max"] == {"batch": 64, "height": 64, "width": 64}
    assert all(size % 2 for size in sizes["odd"].values())
    assert len(set(sizes["odd"].values())) == 3


def test_odd_sizes_respect_multiples_and_differ_from_fixed_sizes() -> None:
    odd = sizes_at(parse_inputs(["x:h=28..448/28,w=28..448/28,n=1..3,3"]), "odd")
    assert odd["h"] % 28 == odd["w"] % 28 == 0
    assert odd["h"] != odd["w"]
    assert odd["n"] != 3


def test_equal_sizes_are_used_once() -> None:
    assert list(interesting_sizes(parse_inputs(["x:2,3"]))) == ["min"]
    assert list(interesting_sizes(parse_inputs(["x:n=1..1"]))) == ["min"]


def test_random_feeds_repeat() -> None:
    sizes = sizes_at(SPECS, "opt")
    first, second = random_feed(SPECS, sizes), random_feed(SPECS, sizes)
    assert first["x"].shape == (8, 16, 14, 14)
    assert first["x"].dtype == np.float32
    np.testing.assert_array_equal(first["x"], second["x"])
    assert not np.array_equal(first["x"], random_feed(SPECS, sizes, seed=1)["x"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_can_be_fed(dtype: str) -> None:
    array = random_feed(parse_inputs([f"x:5,7:{dtype}"]), {})["x"]
    assert str(array.dtype) == dtype
    assert array.shape == (5, 7)


def test_integers_default_to_zero_and_one_and_ranges_include_both_ends() -> None:
    specs = parse_inputs(["a:500:int64", "b:500:int8", "c:500"], ["b=-2..2", "c=3..4"])
    feed = random_feed(specs, {})
    assert set(feed["a"]) == {0, 1}
    assert set(feed["b"]) == {-2, -1, 0, 1, 2}
    assert 3 <= feed["c"].min() < feed["c"].max() <= 4


def test_a_stored_feed_comes_back(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.ones((2, 3), np.float32))
    feed = load_feed(tmp_path / "data.npz")
    assert specs_from_feed(feed) == parse_inputs(["x:2,3:float32"])


def test_a_stored_feed_is_never_unpickled(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "executed",))

    np.savez(tmp_path / "data.npz", x=np.array([Payload()], dtype=object))
    (tmp_path / "data.pkl").write_bytes(pickle.dumps(Payload()))
    for name in ("data.npz", "data.pkl"):
        with pytest.raises(ArtifactError, match=r"is not an \.npz of plain arrays"):
            load_feed(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_a_missing_or_foreign_data_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputSpecError, match="no such file"):
        load_feed(tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ArtifactError):
        load_feed(tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(ArtifactError):
        load_feed(tmp_path / "one.npy")


def test_a_feed_that_fits_tells_its_sizes() -> None:
    assert check_feed({"x": np.zeros((2, 16, 5, 4), np.float32)}, SPECS) == {"batch": 2, "height": 5, "width": 4}


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "message"),
    [
        ("y", (2, 16, 5, 4), "float32", "the inputs are x"),
        ("x", (2, 16, 5), "float32", "has rank 4"),
        ("x", (2, 15, 5, 4), "float32", "size 15 does not fit"),
        ("x", (2, 16, 65, 4), "float32", "size 65 does not fit"),
        ("x", (2, 16, 5, 4), "float64", "but the data is float64"),
    ],
)
def test_a_feed_that_does_not_fit_is_refused(name: str, shape: tuple[int, ...], dtype: str, message: str) -> None:
    specs = parse_inputs(["x:batch=1..8..64,16,height=4..14..64,width=4..14..64:float32"])
    with pytest.raises(InputSpecError, match=message):
        check_feed({name: np.zeros(shape, dtype)}, specs)


def test_one_name_means_equal_sizes() -> None:
    specs = parse_inputs(["a:n=1..9", "b:n"])
    with pytest.raises(InputSpecError, match="size 3 does not fit"):
        check_feed({"a": np.zeros(2), "b": np.zeros(3)}, specs)


def test_text_has_no_random_values() -> None:
    with pytest.raises(InputSpecError, match="'t' takes string, of which there are no random values") as caught:
        random_feed([TensorSpec("t", (), "string")], {})
    assert caught.value.hint
