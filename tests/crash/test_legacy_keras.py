"""Trainings with legacy Keras end as undisturbed ones, whatever killed them."""

import random
import signal
import zlib
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy

pytestmark = [pytest.mark.crash, pytest.mark.slow(40)]

SCRIPT = Path(__file__).parent / "scripts" / "legacy.py"


@pytest.mark.parametrize(
    "name",
    [
        "older_optimizers",
        "averages_and_schedules",
        "mixed_precision",
        "several_steps_of_an_execution",
        "sequences_that_draw",
        "mirrored",
        "own_step",
        "loop",
    ],
)
def test_a_killed_training_ends_as_the_undisturbed_one(name: str, tmp_path: Path) -> None:
    """Optimizers of before Keras 2.11, loss scales, averages; each relaunch proves its steps."""

    def lives(folder: str) -> Lives:
        policy = CheckpointPolicy(every_steps=4, keep=3)
        return Lives(tmp_path / folder, SCRIPT, args=[name], policy=policy, cold=True)

    calm = driver.undisturbed(lives("calm"))
    assert "file:end.npz" in calm.digests
    dice = random.Random(zlib.crc32(name.encode()))
    blows = [
        Blow("batch", 10, signal.SIGKILL, delay=0.002),  # the last of an epoch
        driver.within(dice),
        Blow("batch", 5, signal.SIGTERM, delay=0.001),
    ]
    storm = driver.stormy(lives("storm"), blows)
    said = [(one["stage"], one["step"], one["inexact"]) for one in storm.resumed]
    assert [] == driver.differences(calm.digests, storm.digests), (storm.kills, said)
    assert storm.proved >= 1, storm.proofs
    # a loop that logs nothing is compared by digests alone, which a busy machine may leave out
    possible = {"identical", "nothing_repeated"} | ({"no_record"} if name == "loop" else set())
    assert possible >= {one["result"] for one in storm.proofs}
    assert [] == [text for one in storm.resumed for text in one["inexact"]]
