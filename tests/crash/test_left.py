"""A `fit` that an exception left is resumed from its checkpoint, up to the same exception."""

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
"""Batches of an epoch; the first stage is left after 3 of 4 epochs, the next two are finished."""


def struck(lives: Lives, blow: Blow) -> int:
    """Run an attempt that a blow ends; return the step of the blow."""
    report = lives.run.root / "report.jsonl"
    lives.start(blow, report)
    end = lives.wait()
    assert report.exists(), lives.log()
    assert end["cause"] in ("crash", "preempted"), lives.log()
    step = int(json.loads(report.read_text())["step"])
    report.unlink()
    return step


def test_a_fit_left_by_a_caught_exception_does_not_start_over(tmp_path: Path) -> None:
    """Killed after it and stopped within it: only its end is repeated, exactly."""
    calm = driver.undisturbed(Lives(tmp_path / "calm", SCRIPT, args=["always"], policy=EPOCH))
    lives = Lives(tmp_path / "struck", SCRIPT, args=["always"], policy=EPOCH)
    fell = struck(lives, Blow("step", 3 * STEPS + 2 * STEPS + 9))  # in the second fit
    assert "e0002-s00000052" in names(lives)
    # in the repeated first fit: its checkpoints are older by position than the second's
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
        # repeated: an epoch of the first fit, and the steps of the second after its last save
        (2, 0, 52, 26 + fell - 130),
        (3, 0, saved, 4),  # trained after the save
        (3, 1, 130, 0),
    ]
    # only one checkpoint of the first remains: the one to resume from
    assert 1 == sum(c.position.stage == 0 for c in checkpoints.scan(lives.run.checkpoints))
    assert [] == lives.entries("warned")


def test_a_fit_without_the_exception_of_an_earlier_attempt_is_reported(tmp_path: Path) -> None:
    """The script branches on something that no checkpoint contains."""
    lives = Lives(tmp_path, SCRIPT, args=["once"], policy=EPOCH)
    struck(lives, Blow("step", 3 * STEPS + 5))
    driver.stormy(lives, [])
    warned = [entry["message"] for entry in lives.entries("warned")]
    what = "An exception left stage 0 in an earlier attempt, but not in this one."
    assert any(what in message for message in warned), warned


def names(lives: Lives) -> set[str]:
    return {checkpoint.name for checkpoint in checkpoints.scan(lives.run.checkpoints)}
