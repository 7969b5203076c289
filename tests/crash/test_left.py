"""A `fit` that an exception ended goes on from its checkpoint, too, and comes to it again."""

import json
import signal
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy
from rekindle.state.run import checkpoints

pytestmark = [pytest.mark.crash, pytest.mark.slow]

SCRIPT = Path(__file__).parent / "scripts" / "left.py"
EPOCH = CheckpointPolicy(every_epochs=1, keep=2)
STEPS = 26
"""Batches of an epoch; the first stage is left after 3 of 4 epochs, the next two end."""


def struck(lives: Lives, blow: Blow) -> int:
    """An attempt that a blow ends; the step at which it fell."""
    told = lives.run.root / "told.jsonl"
    lives.start(blow, told)
    end = lives.wait()
    assert told.exists(), lives.log()
    assert end["cause"] in ("crash", "preempted"), lives.log()
    step = int(json.loads(told.read_text())["step"])
    told.unlink()
    return step


def test_a_fit_left_by_a_caught_exception_is_not_trained_from_zero_again(tmp_path: Path) -> None:
    """Killed behind it and stopped within it: only its end is repeated, and exactly."""
    calm = driver.undisturbed(Lives(tmp_path / "calm", SCRIPT, args=["always"], policy=EPOCH))
    lives = Lives(tmp_path / "struck", SCRIPT, args=["always"], policy=EPOCH)
    fell = struck(lives, Blow("step", 3 * STEPS + 2 * STEPS + 9))  # in the second fit
    assert "e0002-s00000052" in names(lives)
    # in the first, trained once more: what it saves is older by position than the second's
    saved = struck(lives, Blow("step", 14, signal.SIGTERM))
    assert saved == 2 * STEPS + 14
    result = driver.stormy(lives, [])
    assert [] == driver.differences(calm.digests, result.digests)
    at = [
        (r["attempt"], r["stage"], r["step"], r["lost_steps"])
        for r in result.resumed
        if r["stage"] < 2
    ]
    assert at == [
        (1, 0, 0, 0),
        (1, 1, 78, 0),
        # of the first fit an epoch is lost, of the second what came after its last save
        (2, 0, 52, 26 + fell - 130),
        (3, 0, saved, 0),
        (3, 1, 130, 0),
    ]
    # no more of the first than what it goes on from
    assert 1 == sum(c.position.stage == 0 for c in checkpoints.scan(lives.run.checkpoints))
    assert [] == lives.entries("warned")


def test_one_that_ends_well_where_an_exception_had_left_it_is_told(tmp_path: Path) -> None:
    """What the script decides by is outside of the checkpoint: nothing of that is silent."""
    lives = Lives(tmp_path, SCRIPT, args=["once"], policy=EPOCH)
    struck(lives, Blow("step", 3 * STEPS + 5))
    driver.stormy(lives, [])
    [warned] = lives.entries("warned")
    assert "An exception left stage 0 in an earlier attempt, but not in this one." in warned["message"]


def names(lives: Lives) -> set[str]:
    return {checkpoint.name for checkpoint in checkpoints.scan(lives.run.checkpoints)}
