"""A kill just after a save: the relaunch begins one checkpoint earlier, and proves itself."""

import signal
from collections.abc import Iterator
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy
from rekindle.state.run import checkpoints
from rekindle.state.run.checkpoints import Position

pytestmark = [pytest.mark.crash, pytest.mark.slow]

SCRIPT = Path(__file__).parent / "scripts" / "near.py"


def killed_near(root: Path, kind: str, **policy: object) -> tuple[Lives, int]:
    """Run an attempt that is killed three steps after a save; return the step of that save."""
    lives = Lives(root, SCRIPT, args=[kind], policy=CheckpointPolicy(**policy))
    (lives.work / "strike").touch()
    lives.start()
    assert lives.wait()["signal"] == signal.SIGKILL, lives.log()
    # what the keeper had been handed over is on disk by now
    return lives, checkpoints.scan(lives.run.checkpoints)[0].position.step


@pytest.mark.parametrize("kind", ["fit", "loop", "stages"])
def test_a_kill_just_after_a_save_is_resumed_one_checkpoint_earlier(
    tmp_path: Path, kind: str
) -> None:
    """At least eight steps are compared, and the end is that of the undisturbed run."""
    calm = driver.undisturbed(Lives(tmp_path / "calm", SCRIPT, args=[kind]))
    lives, newest = killed_near(tmp_path / "killed", kind)
    lives.start()
    assert lives.wait()["cause"] == "done", lives.log()
    result = lives.result()
    receipt = next(r for r in result.resumed if r["attempt"] == 2)
    name = Position(int(kind == "stages"), newest // 12 - (kind == "stages"), newest).name
    assert receipt["instead_of"] == {"checkpoint": name, "step": newest, "compare": 8}
    assert receipt["step"] < newest
    # the step in which it was killed may not have ended
    assert newest + 2 <= receipt["step"] + receipt["lost_steps"] <= newest + 3
    assert receipt["lost_steps"] >= 8
    assert receipt["refused"] == []
    proved = result.proofs[-1]
    assert (proved["attempt"], proved["result"]) == (2, "identical")
    assert proved["steps"] == proved["of"] == receipt["lost_steps"]
    assert f"not from the newer {name}, so that at least 8 steps can be" in lives.log()
    assert driver.differences(calm.digests, result.digests) == []


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[driver.Result]:
    root = tmp_path_factory.mktemp("near")
    yield driver.undisturbed(Lives(root, SCRIPT, args=["fit"]))


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_second_blow_before_the_newest_is_passed_costs_nothing_more(
    tmp_path: Path, calm: driver.Result, signum: int
) -> None:
    """The third attempt resumes from the newest, and finds the files as of it."""
    lives, newest = killed_near(tmp_path, "fit")
    result = driver.stormy(lives, [Blow("step", 2, signum)])
    second, third = (r for r in result.resumed if r["attempt"] > 1)
    assert second["instead_of"]["step"] == newest
    assert third["step"] == newest
    assert third["instead_of"] is None
    assert (third["lost_steps"], third["refused"]) == (2, [])
    assert third["lost_seconds"] < second["lost_seconds"]
    assert driver.differences(calm.digests, result.digests) == []


def test_a_kill_in_the_commit_of_the_newest_position_loses_nothing(
    tmp_path: Path, calm: driver.Result
) -> None:
    """It exists already; the second attempt reaches it again and is killed there."""
    lives, newest = killed_near(tmp_path, "fit")
    result = driver.stormy(lives, [Blow("before the line checkpoint_committed", 1)])
    *_, third = result.resumed
    assert third["step"] >= newest
    assert driver.differences(calm.digests, result.digests) == []


def test_a_difference_in_the_repeated_steps_is_reported(tmp_path: Path) -> None:
    """As at any relaunch; the newest checkpoint is still there."""
    lives, newest = killed_near(tmp_path, "fit", keep=9)
    lives.start(fault="weight")
    lives.wait()
    proved = lives.result().proofs[-1]
    assert proved["result"] == "different"
    assert newest in {one.position.step for one in checkpoints.scan(lives.run.checkpoints)}


def test_a_difference_that_is_held_leaves_the_newest_checkpoint(tmp_path: Path) -> None:
    lives, newest = killed_near(tmp_path, "fit", on_difference="hold")
    lives.start(fault="weight")
    assert lives.wait()["cause"] == "permanent", lives.log()
    failed = lives.entries("failed")[-1]
    assert failed["error_type"] == "RepeatedStepDiffers"
    left = checkpoints.scan(lives.run.checkpoints)[0]
    assert left.position.step == newest
    assert f"resumes from {left.name}, which an earlier attempt has saved;" in failed["hint"]
    lives.start()  # what `rekindle release` does
    assert lives.wait()["cause"] == "done", lives.log()
    assert lives.entries("resumed")[-1]["checkpoint"] == left.name


def test_with_a_fixed_interval_the_newest_is_used(tmp_path: Path) -> None:
    lives, newest = killed_near(tmp_path, "fit", every_epochs=1)
    lives.start()
    lives.wait()
    receipt = lives.entries("resumed")[-1]
    assert (receipt["step"], receipt["instead_of"]) == (newest, None)
