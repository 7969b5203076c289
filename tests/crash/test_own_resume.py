"""A script that goes on by itself is put back all the same, and ends as if nothing had happened."""

import signal
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy

pytestmark = [pytest.mark.crash, pytest.mark.slow]


@pytest.mark.parametrize("when", ["epochs", "batches"])
def test_a_script_with_a_resume_of_its_own_ends_as_the_undisturbed_one(
    tmp_path: Path, when: str
) -> None:
    """Its model file, learning rate and `initial_epoch` are of another moment: ours win."""
    calm = driver.undisturbed(_lives(tmp_path / "calm", when))
    lives = _lives(tmp_path / "storm", when)
    # epochs of 13 steps. First in epoch 0, behind the script's file of it: it says epoch 1
    storm = driver.stormy(
        lives,
        [
            Blow("before the line epoch_ended", 1, signal.SIGKILL),
            Blow("step", 24, signal.SIGKILL),
            Blow("step", 10, signal.SIGTERM),
        ],
    )
    print(storm.kills, [f"e{r['epoch']}-s{r['step']}" for r in storm.resumed])
    assert 3 == len(storm.kills)
    assert 3 == storm.in_mid_epoch
    assert 0 == storm.resumed[1]["epoch"]
    # the paths of a model that was loaded begin otherwise, and the one that was built before has
    # a seed generator, too: only they may differ
    assert [] == [
        name
        for name in driver.differences(calm.digests, storm.digests)
        if not name.endswith(":variables") and not (when == "batches" and ":seeds/" in name)
    ]


def test_generators_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    """A model that was built in vain has moved the numbers of those behind it: no guess is made."""
    lives = _lives(tmp_path, "drawing")
    told = lives.run.root / "told.jsonl"
    lives.start(Blow("step", 24), told)
    assert signal.SIGKILL == lives.wait()["signal"], lives.log()
    told.unlink()
    lives.start()
    assert ("permanent", 78) == ((end := lives.wait())["cause"], end["exit_code"]), lives.log()
    assert "seed_generator" in lives.entries("failed")[-1]["message"]


def _lives(root: Path, when: str) -> Lives:
    return Lives(
        root,
        Path(__file__).parent / "scripts" / "own_resume.py",
        args=[when],
        policy=CheckpointPolicy(every_steps=4, keep=3),
    )
