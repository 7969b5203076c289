"""Weights at the ends of stages go above the limit, the oldest first, and only what may go."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rekindle.jobs.ends.limit import EndLimit, Follower, refuse_dropped
from rekindle.state.errors import UsageError
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, tensors
from rekindle.state.run.checkpoints import Checkpoint, Position

SIZE = 100_000


class Disk:
    """The ends of some stages on disk, and what was noted."""

    def __init__(self, root: Path, stages: int = 5) -> None:
        self.run = Run(root)
        self.ends = [self._save(stage) for stage in range(stages)]
        self.noted: list[Any] = []
        self.warned: list[str] = []

    def _save(self, stage: int) -> Checkpoint:
        arrays = {
            "model/00000": np.full(SIZE // 4, stage, np.float32),
            "optimizer/00000": np.float32(0.1),
            "random/0": np.full(9000, stage, np.uint8),
        }
        state = {"variables": {"model": [["w", [SIZE // 4], "float32"]], "optimizer": [["r"]]}}
        return checkpoints.commit(
            self.run.checkpoints,
            Position(stage, 1, 10 * stage + 10, end=True),
            lambda folder: tensors.save(
                folder / checkpoints.STATE, arrays, {"state": json.dumps(state)}
            ),
            {"finite": True},
        )

    def drop(
        self, limit: int, *, unused: list[int] | None = None, protected: str | None = None
    ) -> list[int]:
        followers = {n: Follower(n + 1, f"w{n + 1}") for n in (unused or [])}
        EndLimit(
            self.run, limit, self.noted.append, lambda message, _: self.warned.append(message)
        ).drop(followers, protected)
        return [n for n, end in enumerate(self.ends) if end.is_reduced]


def test_the_oldest_go_until_the_rest_fits(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    assert disk.drop(10 * SIZE, unused=[0, 1, 2, 3]) == []
    assert disk.drop(4 * SIZE, unused=[0, 1, 2, 3]) == [0, 1]
    assert [n["name"] for n in disk.noted] == [end.name for end in disk.ends[:2]]
    assert disk.warned == []
    assert sum(end.bytes for end in disk.ends) <= 4 * SIZE


def test_what_is_small_or_no_weight_stays(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.drop(0, unused=[1])
    arrays, metadata = tensors.load(disk.ends[1].state)
    assert sorted(arrays) == ["optimizer/00000", "random/0"]
    state = json.loads(metadata["state"])
    assert Follower.parse(state["dropped"]) == Follower(2, "w2")
    assert state["variables"]["model"] == [["w", [SIZE // 4], "float32"]]


def test_what_the_script_uses_and_the_newest_and_the_best_stay(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    assert disk.drop(1, unused=[0, 2, 4], protected=disk.ends[2].name) == [0]
    (said,) = disk.warned
    assert "checkpoint.keep_ends" in said


def test_nothing_goes_before_what_is_newer_is_good(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.ends[1].state.write_bytes(b"damaged")
    assert disk.drop(0, unused=[0, 1, 2]) == [2]


def test_a_full_disk_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    disk = Disk(tmp_path)
    monkeypatch.setattr(tensors, "save", full)
    assert disk.drop(0, unused=[0, 1]) == []
    assert "were not dropped: no space left" in "".join(capsys.readouterr())


@pytest.mark.parametrize("value", [None, [], {}, {"stage": "1", "weights": "x"}, {"stage": 1}])
def test_another_form_is_none(value: object) -> None:
    assert Follower.parse(value) is None


def test_a_checkpoint_without_weights_is_not_exported() -> None:
    refuse_dropped("e0001-s00000010", {"variables": {}})
    with pytest.raises(UsageError, match="e0001-s00000010-end were dropped"):
        refuse_dropped("e0001-s00000010-end", {"dropped": {"stage": 1, "weights": "w"}})
