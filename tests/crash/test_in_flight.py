"""Kill a training while it continues and a checkpoint is being written."""

import signal
from pathlib import Path

import lives as driver
import matrix
import pytest
from lives import Blow

pytestmark = [pytest.mark.crash, pytest.mark.slow]

DELAYS = (0.0, 0.001, 0.003, 0.006)
KILLS = [Blow("in flight", number, delay=delay) for number, delay in zip((2, 1, 3, 2), DELAYS)]
STOPS = [Blow("in flight", 2, signal.SIGTERM), Blow("in flight", 1, signal.SIGTERM, delay=0.003)]
KEEPER = [Blow("in flight", 2, keeper=True), Blow("in flight", 2, signal.SIGTERM, keeper=True)]


@pytest.mark.parametrize("blows", [KILLS, STOPS, KEEPER], ids=["kills", "stops", "keeper"])
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
