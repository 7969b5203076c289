"""Data that draws from Python's generators is resumed exactly, or the receipt says why not."""

import signal
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy

pytestmark = [pytest.mark.crash, pytest.mark.slow]

MATRIX = Path(__file__).parent / "scripts" / "matrix.py"
DRAWING = Path(__file__).parent / "scripts" / "drawing.py"
EVERY = CheckpointPolicy(every_steps=5)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("generator_that_draws_globally", [18, 18]),
        ("pydataset_that_draws", [33, 18]),
        ("pydataset_that_draws_over_epochs", [33, 18]),
        ("two_fits_of_data_that_draws", [48]),
    ],
)
def test_data_that_draws_is_resumed_exactly_in_later_epochs(
    name: str, steps: list[int], tmp_path: Path
) -> None:
    """Prefetched batches, epoch ends, validation and another fit precede the kill."""
    calm = driver.undisturbed(Lives(tmp_path / "calm", MATRIX, args=[name], policy=EVERY))
    lives = Lives(tmp_path / "struck", MATRIX, args=[name], policy=EVERY)
    result = driver.stormy(lives, [Blow("step", count) for count in steps])
    assert len(result.kills) == len(steps)
    assert result.in_mid_epoch == len(steps)
    assert [] == driver.differences(calm.digests, result.digests)
    assert [[]] * len(result.resumed) == [receipt["inexact"] for receipt in result.resumed]
    assert [] == lives.entries("warned")


def test_on_epoch_end_of_a_dataset_is_called_once(tmp_path: Path) -> None:
    """After a save within the validation, with no periodic save at the end of the epoch."""
    script = Path(__file__).parent / "scripts" / "matrix.py"

    def lives(name: str) -> Lives:
        return Lives(
            tmp_path / name,
            script,
            args=["pydataset_that_draws"],
            policy=CheckpointPolicy(every_steps=5, keep=3),
        )

    calm = driver.undisturbed(lives("calm"))
    storm = driver.stormy(
        lives("storm"), [Blow("batch", 17, signal.SIGTERM), Blow("validation", 1, signal.SIGTERM)]
    )
    assert [20] == [receipt["step"] for receipt in storm.resumed if receipt["attempt"] == 3]
    assert [] == driver.differences(calm.digests, storm.digests)


def test_draws_that_cannot_be_reproduced_are_reported(tmp_path: Path) -> None:
    """Shared with the script, in workers, through Keras, and from a generator used twice."""
    lives = Lives(tmp_path, DRAWING, policy=EVERY)
    result = driver.stormy(lives, [Blow("step", 8)])
    assert [(1, 0), (2, 0), (2, 1), (2, 2), (2, 3)] == [
        (receipt["attempt"], receipt["stage"]) for receipt in result.resumed
    ]
    wanted = [
        "Both the data and the script draw from numpy's global random generator",
        "draws random numbers in several workers",
        "through Keras or TensorFlow",
        "An earlier fit used the same generator",
    ]
    for receipt, part in zip(result.resumed[1:], wanted, strict=True):
        assert any(part in text for text in receipt["inexact"]), receipt
    # the first attempt found this after it had written its receipt
    warned = [entry["message"] for entry in lives.entries("warned") if entry["attempt"] == 1]
    assert [] == result.resumed[0]["inexact"]
    assert any(wanted[0] in text for text in warned), warned
