"""SIGTERM saves at the next step; at most one save interval is repeated if a save is impossible."""

import signal
import time
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

from rekindle.jobs import heartbeat
from rekindle.jobs.job import CheckpointPolicy

pytestmark = [pytest.mark.crash, pytest.mark.slow]

GUARDED = Path(__file__).parent / "scripts" / "guarded.py"
SLOW = Path(__file__).parent / "scripts" / "slow_execution.py"
EPOCH = CheckpointPolicy(every_epochs=1)


@pytest.mark.parametrize(
    "blow",
    [
        Blow("batch", 9, signal.SIGTERM, keeper=True, delay=0.001),
        pytest.param(Blow("validation", 1, signal.SIGTERM), marks=pytest.mark.promise),
        Blow("compile", 1, signal.SIGTERM, keeper=True),
        Blow("in_write", 2, signal.SIGTERM),
        Blow("before the line epoch_ended", 1, signal.SIGTERM),
        Blow("before the line checkpoint_committed", 2, signal.SIGTERM),
    ],
    ids=lambda blow: blow.place,
)
def test_a_stop_repeats_only_the_steps_that_prove_it(blow: Blow, tmp_path: Path) -> None:
    """The state is saved at the next boundary, and the attempt exits with 75 soon after."""
    lives = Lives(tmp_path, GUARDED, args=["none"], policy=EPOCH)
    report = lives.run.root / "report.jsonl"
    lives.start(blow, report)
    end = lives.wait()
    assert ("preempted", 75) == (end["cause"], end["exit_code"]), lives.log()
    assert not end["killed_after_grace"]
    more = "training 4 steps more" in lives.log()
    reached = heartbeat.read(lives.run.heartbeat)
    assert reached is not None
    assert report.exists()
    report.unlink()
    result = driver.stormy(lives, [])
    receipt = result.resumed[-1]
    assert reached.step == receipt["step"] + receipt["lost_steps"]
    # only a save between two steps of an epoch is followed by others, where there is time for them
    assert receipt["lost_steps"] in (range(1, 5) if more else (0,))
    if blow.place not in ("batch", "compile"):
        assert not more
    if blow.place != "compile":
        assert receipt["step"] > 0


@pytest.mark.slow(15)  # waits for a long step
@pytest.mark.parametrize(("kind", "step"), [("fit", 20), ("loop", 1)])
def test_an_execution_longer_than_the_grace_period_repeats_only_itself(
    kind: str, step: int, tmp_path: Path
) -> None:
    """The thread that the signal wakes saves the copy from before it, in time."""
    calm = driver.undisturbed(Lives(tmp_path / "calm", SLOW, args=[kind], policy=EPOCH))
    lives = Lives(tmp_path / "stopped", SLOW, args=[kind, "0.2"], policy=EPOCH, grace=2.4)
    lives.start(
        Blow("batch", step, signal.SIGTERM, keeper=True, delay=0.5), lives.run.root / "report.jsonl"
    )
    end = lives.wait()
    assert ("preempted", 75) == (end["cause"], end["exit_code"]), lives.log()
    assert not end["killed_after_grace"]
    assert "the step takes longer than the grace period" in lives.log()
    (lives.run.root / "report.jsonl").unlink()
    lives.change(args=[kind])
    result = driver.stormy(lives, [])
    assert (step, 0) == (result.resumed[-1]["step"], result.resumed[-1]["lost_steps"])
    assert [] == driver.differences(calm.digests, result.digests)


def test_a_trainer_that_ignores_sigterm_is_killed_and_resumed_from_the_last_checkpoint(
    tmp_path: Path,
) -> None:
    """After the grace period; the receipt says how many steps are repeated."""
    lives = Lives(
        tmp_path, GUARDED, args=["stuck"], policy=CheckpointPolicy(every_steps=5), grace=1.0
    )
    lives.start()
    lives.until((lives.work / "stuck").exists)
    began = time.monotonic()
    assert lives.keeper is not None
    lives.keeper.send_signal(signal.SIGTERM)
    end = lives.wait()
    assert time.monotonic() - began < 30
    assert ("preempted", True) == (end["cause"], end["killed_after_grace"])
    result = driver.stormy(lives, [])
    receipt = result.resumed[-1]
    assert ("e0000-s00000005", 5, 3) == (
        receipt["checkpoint"],
        receipt["step"],
        receipt["lost_steps"],
    )
    assert receipt["lost_seconds"] > 0


@pytest.mark.parametrize(
    ("policy", "most"),
    [
        (CheckpointPolicy(every_epochs=1), 26),
        (CheckpointPolicy(every_steps=4), 4),
        (CheckpointPolicy(every_seconds=1e-6), 1),  # shorter than any step
        (CheckpointPolicy(), 26),
    ],
    ids=["epoch", "4 steps", "1 µs", "auto"],
)
def test_a_kill_repeats_at_most_one_save_interval(
    policy: CheckpointPolicy, most: int, tmp_path: Path
) -> None:
    """The receipt says how many steps are repeated, and no others are."""
    lives = Lives(tmp_path, GUARDED, args=["none"], policy=policy)
    report = lives.run.root / "report.jsonl"
    lives.start(Blow("step", 37), report)
    assert lives.wait()["signal"] == signal.SIGKILL
    report.unlink()
    result = driver.stormy(lives, [])
    receipt = result.resumed[-1]
    assert 37 == receipt["step"] + receipt["lost_steps"]
    assert 0 < receipt["lost_steps"] <= most
    assert receipt["step"] > 0
