"""Kill a training while it continues and a checkpoint is being written."""

import signal
from pathlib import Path

import lives as driver
import matrix
import pytest
from lives import Blow

from rekindle.state import crash_points

pytestmark = [pytest.mark.crash, pytest.mark.slow]

DELAYS = (0.0, 0.001, 0.003, 0.006)
KILLS = [Blow("in flight", number, delay=delay) for number, delay in zip((2, 1, 3, 2), DELAYS)]
STOPS = [Blow("in flight", 2, signal.SIGTERM), Blow("in flight", 1, signal.SIGTERM, delay=0.003)]
HANDED = [Blow(place, 2) for place in ("in_copy", "before_handover", "handed_over", "handed_over")]
KEEPER = [Blow("in flight", 2, keeper=True), Blow("in flight", 2, signal.SIGTERM, keeper=True)]


KEEPER += [Blow("handed_over", 2, keeper=True), Blow("in_copy", 2, keeper=True)]


@pytest.mark.parametrize(
    "blows", [KILLS, STOPS, HANDED, KEEPER], ids=["kills", "stops", "handed", "keeper"]
)
@pytest.mark.parametrize("name", ["arrays_shuffled", "dataset_shuffled"])
def test_a_checkpoint_in_flight_is_whole_or_not_there(
    name: str, blows: list[Blow], tmp_path: Path
) -> None:
    calm = driver.undisturbed(matrix.lives(tmp_path / "calm", name))
    lives = matrix.lives(tmp_path / "storm", name)
    result = driver.stormy(lives, blows)
    assert [] == driver.differences(calm.digests, result.digests)
    assert len(result.kills) == len(blows)
    assert result.resumes >= 1
    assert result.proved >= 1
    assert not lives.entries("checkpoint_refused")


@pytest.mark.parametrize("name", ["arrays_shuffled", "dataset_shuffled"])
def test_a_snapshot_outlives_its_trainer(name: str, tmp_path: Path) -> None:
    """A checkpoint is there for each that was handed over, and for no other."""
    lives = matrix.lives(tmp_path, name)
    try:
        for place, committed in (("before_handover", 1), ("handed_over", 2), ("in_copy", 1)):
            before = len(lives.entries("checkpoint_committed"))
            lives.start(Blow(place, 2), tmp_path / "report")
            ended = lives.wait()
            assert ended["signal"] == signal.SIGKILL
            made = lives.entries("checkpoint_committed")[before:]
            assert len(made) == committed, (place, made)
            assert all((lives.run.checkpoints / one["name"]).is_dir() for one in made[-1:])
            assert not list(lives.run.checkpoints.glob(".tmp-*"))
    finally:
        lives.close()


@pytest.mark.parametrize("point", [*crash_points.HANDOVER, *crash_points.CHECKPOINT])
def test_a_keeper_that_is_killed_while_it_writes(point: str, tmp_path: Path) -> None:
    """The trainer ends with it, and nothing of a half-written checkpoint is used."""
    calm = driver.undisturbed(matrix.lives(tmp_path / "calm", "arrays_shuffled"))
    lives = matrix.lives(tmp_path / "storm", "arrays_shuffled")
    died = tmp_path / "died"
    lives.start(crash_point=f"{point}#3@{died}")
    assert lives.wait()["cause"] == "lost"
    assert died.exists(), f"nothing reaches {point}"
    result = driver.stormy(lives, [])
    assert [] == driver.differences(calm.digests, result.digests)
    assert result.resumes == 1
    assert not lives.entries("checkpoint_refused")
