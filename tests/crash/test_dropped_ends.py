"""Ends of many stages on disk: dropped where the next stage continued, and never used then."""

import signal
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy
from rekindle.state.run import checkpoints

pytestmark = [pytest.mark.crash, pytest.mark.slow]
LIMIT = 600_000  # the end of a stage has 134 kB
BLOWS = (Blow("step", 22, signal.SIGKILL), Blow("step", 9, signal.SIGTERM))


def test_dropped_weights_are_not_missed(tmp_path: Path) -> None:
    calm = driver.undisturbed(_lives(tmp_path / "calm", "trains", limit=10**9))
    lives = _lives(tmp_path / "storm", "trains")
    storm = driver.stormy(lives, BLOWS)
    assert len(storm.kills) == len(BLOWS)
    assert _result(calm) == _result(storm)
    assert all(receipt["inexact"] == [] for receipt in storm.resumed), storm.resumed
    dropped = [entry["name"] for entry in lives.entries("weights_dropped")]
    ends = [c for c in checkpoints.scan(lives.run.checkpoints) if c.position.end]
    assert dropped == sorted(set(dropped)), "the oldest first, and each once"
    assert dropped == [c.name for c in reversed(ends) if c.is_reduced]
    assert sum(c.bytes for c in ends) <= LIMIT
    assert all(checkpoints.verify(c) is None for c in ends)
    assert lives.entries("warned") == []


def test_a_look_at_a_model_whose_weights_were_dropped_holds_the_job(tmp_path: Path) -> None:
    lives = _lives(tmp_path, "trains", limit=0)
    lives.start(Blow("step", 30), tmp_path / "report.jsonl")
    assert signal.SIGKILL == lives.wait()["signal"], lives.log()
    (lives.work / "look").touch()
    lives.start()
    assert "permanent" == lives.wait()["cause"], lives.log()
    failed = lives.entries("failed")[-1]
    assert "The script uses the model as stage 2 left it" in failed["message"]
    assert "checkpoint.keep_ends" in failed["hint"]
    assert [] == [name for name in ("looked", "caught") if (lives.work / name).exists()]
    (lives.work / "look").unlink()
    lives.start()  # as the hint says
    assert "done" == lives.wait()["cause"], lives.log()


def test_weights_that_the_script_uses_are_kept_and_the_limit_is_said(tmp_path: Path) -> None:
    calm = driver.undisturbed(_lives(tmp_path / "calm", "evaluates", limit=10**9))
    lives = _lives(tmp_path / "storm", "evaluates")
    storm = driver.stormy(lives, BLOWS)
    assert _result(calm) == _result(storm)
    assert lives.entries("weights_dropped") == []
    (said,) = {entry["message"] for entry in lives.entries("warned")}
    assert "checkpoint.keep_ends" in said


def _result(of: driver.Result) -> str:
    return of.digests["file:result.npz"]


def _lives(root: Path, which: str, limit: int = LIMIT) -> Lives:
    return Lives(
        root,
        Path(__file__).parent / "scripts" / "ends.py",
        args=[which],
        policy=CheckpointPolicy(every_steps=3, keep_ends=limit),
    )
