"""Digest of data: what counts, what does not, and what is read of large data."""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from rekindle.jobs.stages.data_digest import DataDigest, count_leaves
from rekindle.jobs.stages.key import DataKey
from rekindle.jobs.stages.stable_text import stable_text


def key(value: Any) -> DataKey:
    digest = DataDigest(leaves=count_leaves(value))
    digest.add(value)
    return digest.key()


def test_content_shape_and_type_count() -> None:
    rows = np.arange(12.0)
    different = [
        rows,
        rows + 1,
        rows.astype("float32"),
        rows.reshape(3, 4),
        rows.astype("int64"),
        {"a": rows},
        [rows, rows],
    ]
    assert len(different) == len({key(value).exact for value in different})
    assert key(rows) == key(rows.copy()) == key(np.arange(24.0)[:12])


def test_folds_of_large_arrays_differ_and_are_read_in_part() -> None:
    rows = np.random.default_rng(0).normal(size=(200_000, 16)).astype("float32")
    folds = [np.delete(rows, np.s_[k * 1000 : (k + 1) * 1000], axis=0) for k in range(3)]
    assert 3 == len({key(fold).exact for fold in folds})
    for view in (rows.T, rows[::2], rows[:, 3:]):
        assert key(view) == key(view.copy() if view.base is None else view)


def test_what_differs_between_processes_does_not_count() -> None:
    assert key({"made": time.time()}) == key({"made": time.time() - 3600})
    for one, other in (
        ("runs/2024-05-01_12-00-01/x.csv", "runs/2025-11-30_23-59-59/x.csv"),
        (
            f"{tempfile.gettempdir()}/tmpab12cd34/a.txt",
            f"{tempfile.gettempdir()}/tmpzz98xy76/a.txt",
        ),
        ("<Thing at 0x7f0012345678>", "<Thing at 0x7f0087654321>"),
        ("run-1764150000", "run-1764159999"),
    ):
        assert stable_text(one) == stable_text(other)
    for one, other in (("fold_1/x.csv", "fold_2/x.csv"), ("lr0.001", "lr0.01")):
        assert stable_text(one) != stable_text(other)


def test_files_count_by_content_and_not_by_time(tmp_path: Path) -> None:
    file = tmp_path / "a.tfrecord"
    file.write_bytes(b"one")
    before = key([str(file)])
    os.utime(file, (1, 1))
    assert before == key([str(file)])
    file.write_bytes(b"two")
    assert before != key([str(file)])


class Thing:
    def __init__(self, **named: Any) -> None:
        self._private = object()
        self.lock = object()
        vars(self).update(named)


def test_plain_attributes_of_an_object_count() -> None:
    def of(thing: Thing) -> DataKey:
        digest = DataDigest()
        digest.attributes(thing)
        return digest.key()

    assert of(Thing(size=3)) == of(Thing(size=3))
    assert of(Thing(size=3)) != of(Thing(size=4))
    assert of(Thing(rows=np.zeros(3))) != of(Thing(rows=np.ones(3)))


def test_arguments_of_a_generator_count_before_it_begins() -> None:
    def batches(rows: Any, size: int) -> Any:
        yield rows[:size]

    rows = np.arange(8.0)
    assert key(batches(rows, 2)) == key(batches(rows, 2))
    assert key(batches(rows, 2)) != key(batches(rows, 4))
    assert key(batches(rows, 2)) != key(batches(rows + 1, 2))


def test_last_bits_of_floats_are_near_and_integers_are_not() -> None:
    rows = np.linspace(1, 2, 100)
    assert key(rows).is_near(key(rows * (1 + 1e-7)))
    assert not key(rows).is_near(key(rows * 1.1))
    assert not key(np.arange(5)).is_near(key(np.arange(5) + 1))


def test_nothing_of_a_cycle_or_a_huge_tree_is_read_for_ever() -> None:
    cycle: list[Any] = [1]
    cycle.append(cycle)
    assert key(cycle).exact
    assert key([[0] * 10 for _ in range(20_000)]).exact
