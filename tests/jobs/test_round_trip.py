"""A restored state that is not that of its checkpoint is named, down to one bit."""

from typing import Any

import numpy as np
import pytest

from rekindle.jobs.capture.codec import decode, encode
from rekindle.jobs.proof import decodable, round_trip
from rekindle.jobs.proof.round_trip import Comparison

SAVED: dict[str, Any] = {
    "variables": {"model": [["dense/kernel", [2], "float32"]], "optimizer": [["adam/m", [2], "f"]]},
    "random": {
        "python": {"array": ["random/python/0", "uint32"]},
        "numpy": {"array": ["random/numpy/0", "uint32"]},
        "eager": None,
        "seeds": [[0, "seed_generator", "seeds/00000"]],
    },
    "callbacks": [["Counting", {"attributes": {"count": 3, "seen": {"dict": []}}, "files": {}}]],
    "iterator": {"taken": 4},
    "generators": 1,
    "stop_training": False,
    "versions": {"keras": "3"},
}
ARRAYS = {
    "model/00000": np.float32([1.0, -0.0]),
    "optimizer/00000": np.float32([0.5, 0.25]),
    "random/python/0": np.uint32([1, 2]),
    "random/numpy/0": np.uint32([3, 4]),
    "seeds/00000": np.uint32([5, 6]),
    "callbacks/00/best/0": np.float64([np.nan]),
}


def gaps(
    state: dict[str, Any] | None = None, unchecked: tuple[str, ...] = (), **arrays: Any
) -> list[tuple[str, str]]:
    """Compare the checkpoint with a capture that differs in these parts."""
    again = Comparison(ARRAYS)
    for key, array in ARRAYS.items():
        if arrays.get(key, array) is not None:
            again[key] = arrays.get(key, array)
    found = round_trip.gaps(SAVED, {**SAVED, **(state or {})}, again, unchecked=unchecked)
    return [(gap.group, gap.name) for gap in found]


def test_an_equal_state_has_no_gap() -> None:
    assert gaps() == []
    later = {"versions": {"keras": "4"}, "generators": 2}
    assert gaps(later) == []
    callback = {"attributes": {"count": 3, "seen": {"dict": []}, "new": 1}, "files": {"events": 9}}
    assert gaps({"callbacks": [["Counting", callback]]}) == []


@pytest.mark.parametrize(
    ("key", "array", "gap"),
    [
        ("model/00000", np.nextafter(np.float32([1.0, 0.0]), np.float32(2)), "dense/kernel"),
        ("model/00000", np.float32([1.0, 0.0]), "dense/kernel"),  # the sign of zero
        ("optimizer/00000", np.zeros(2, np.float32), "optimizer variable adam/m"),
        ("optimizer/00000", None, "optimizer variable adam/m"),
        ("random/numpy/0", np.uint32([3, 5]), "numpy's random generator"),
        ("seeds/00000", np.uint32([5, 7]), "seed generator seed_generator"),
        ("callbacks/00/best/0", np.float64([1.0]), "Counting.best"),
    ],
)
def test_a_wrong_array_is_named(key: str, array: Any, gap: str) -> None:
    ((_, name),) = gaps(**{key: array})
    assert gap in name


def test_other_wrong_values_are_named() -> None:
    wrong = {"attributes": {"count": 4, "seen": {"dict": []}}}
    assert gaps({"callbacks": [["Counting", wrong]]}) == [("callbacks", "Counting.count")]
    assert gaps({"callbacks": [["Counting", {"attributes": {"count": 3}}]]}) == [
        ("callbacks", "Counting.seen")
    ]
    assert gaps({"iterator": {"taken": 5}})[0][0] == "data"
    assert gaps({"stop_training": True}) == [("state", "stop_training")]


def test_generators_that_nothing_uses_are_no_gap() -> None:
    assert gaps(**{"seeds/00000": None}) == []
    assert gaps(unchecked=("seeds/00000",), **{"seeds/00000": np.uint32([9, 9])}) == []


def test_arrays_are_compared_and_dropped() -> None:
    again = Comparison(ARRAYS)
    again.update({"model/00000": np.float32([2, 2]), "other/0": np.ones(3)})
    assert all(array.size == 0 for array in again.values())
    assert "by 2 at most" in again.gaps["model/00000"]
    del again["other/0"]
    assert again.gaps.keys() == {"model/00000"}


def test_generators_within_a_list_are_restored_into_those_that_exist() -> None:
    one, other = np.random.default_rng(1), np.random.default_rng(2)
    arrays: dict[str, Any] = {}
    encoded = encode([1, {"rng": one}], arrays, "x")
    decoded = decode(encoded, arrays, [0, {"rng": other}])
    assert decoded[1]["rng"] is other
    assert other.random() == one.random()


@pytest.mark.parametrize(
    ("value", "comes_back"),
    [
        ({"a": [1, (2, {3})], None: float("nan")}, True),
        ([np.float32(1), np.arange(3), np.random.default_rng(1)], True),
        (np.zeros(2, [("x", "f4")]), False),
        (np.random.Generator(np.random.SFC64(1)), True),
        (np.random.Generator(type("Own", (np.random.PCG64,), {})(1)), False),
    ],
)
def test_what_would_not_come_back_is_found_at_the_save(value: Any, *, comes_back: bool) -> None:
    arrays: dict[str, Any] = {}
    state: Any = {"callbacks": [["Own", {"attributes": {"kept": encode(value, arrays, "c")}}]]}
    found = [caveat.what for caveat in decodable.caveats(state, arrays)]
    assert bool(found) != comes_back, found
    if found:
        assert "The attribute kept of the callback Own could not be restored" in found[0]


def test_a_pass_without_a_batch_left_may_be_begun_once_more() -> None:
    """A checkpoint that was saved within a validation; within an epoch it would be an error."""
    for step, found in ((26, []), (0, [("data", "position in the data: iterator.live")])):
        at = {"iterator": {"epoch_step": step, "live": False}}
        now = {"iterator": {"epoch_step": step, "live": True}}
        all_of = round_trip.gaps({**SAVED, **at}, {**SAVED, **now}, again(), unchecked=())
        assert [(gap.group, gap.name) for gap in all_of] == found


def again() -> Comparison:
    made = Comparison(ARRAYS)
    for key, array in ARRAYS.items():
        made[key] = array
    return made


def test_a_generator_that_a_thread_draws_from_has_a_remedy_of_its_own() -> None:
    gap = round_trip.Gap("seeds", "Python's random generator", "another state")
    (caveat,) = round_trip.caveats("e0001-s00000008", [gap])
    assert "default_rng" in caveat.remedy and "report" not in caveat.remedy
    other = round_trip.Gap("model", "model variable kernel", "1 of 2 elements differ")
    assert "report this" in round_trip.caveats("e0001-s00000008", [gap, other])[0].remedy
