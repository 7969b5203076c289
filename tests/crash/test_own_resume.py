"""A script that resumes by itself is restored as well, and ends as an undisturbed one."""

import signal
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy

pytestmark = [pytest.mark.crash, pytest.mark.slow]


@pytest.mark.parametrize("when", ["epochs", "batches", "drawing"])
def test_a_script_with_a_resume_of_its_own_ends_as_the_undisturbed_one(
    tmp_path: Path, when: str
) -> None:
    """Its model file, learning rate and `initial_epoch` are of another step: ours are used."""
    calm = driver.undisturbed(_lives(tmp_path / "calm", when))
    lives = _lives(tmp_path / "storm", when)
    # epochs of 13 steps. The first blow is in epoch 0 after the script's save, which says epoch 1
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
    # only these may differ: a loaded model has other path prefixes, and the model built before
    # it has a seed generator, too
    assert [] == [
        name
        for name in driver.differences(calm.digests, storm.digests)
        if not name.endswith(":variables") and not (when != "epochs" and ":seeds/" in name)
    ]


def _lives(root: Path, when: str) -> Lives:
    return Lives(
        root,
        Path(__file__).parent / "scripts" / "own_resume.py",
        args=[when],
        policy=CheckpointPolicy(every_steps=4, keep=3),
    )
