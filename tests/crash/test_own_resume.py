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
        tmp_path: Path, when: str) -> None:
    """Its model file, learning rate and `initial_epoch` are of another moment: ours win."""
    calm = driver.undisturbed(_lives(tmp_path / "calm", when))
    lives = _lives(tmp_path / "storm", when)
    # epochs of 13 steps. First in epoch 0, behind the script's file of it: it says epoch 1
    storm = driver.stormy(lives, [Blow("before the line epoch_ended", 1, signal.SIGKILL),
                                  Blow("step", 24, signal.SIGKILL),
                                  Blow("step", 10, signal.SIGTERM)])
    print(storm.kills, [f"e{r['epoch']}-s{r['step']}" for r in storm.resumed])
    assert 3 == len(storm.kills)
    assert 3 == storm.in_mid_epoch
    assert 0 == storm.resumed[1]["epoch"]
    # the paths of a model that was loaded begin otherwise: only they may differ
    assert [] == [name for name in driver.differences(calm.digests, storm.digests)
                  if not name.endswith(":variables")]


def _lives(root: Path, when: str) -> Lives:
    return Lives(root, Path(__file__).with_name("own_resume.py"), args=[when],
                 policy=CheckpointPolicy(every_steps=4, keep=3))
