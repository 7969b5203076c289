"""The same training as ``fit`` and as a ``resumable`` loop: one engine runs both."""

import random
import signal
from pathlib import Path

import lives as driver
import pytest
from lives import Lives

from rekindle.jobs.job import CheckpointPolicy

SCRIPT = Path(__file__).parent / "scripts" / "parity.py"

pytestmark = [pytest.mark.crash, pytest.mark.slow]  # three trainings, two of them killed


def _lives(root: Path, kind: str, **more: object) -> Lives:
    return Lives(root, SCRIPT, args=[kind], policy=CheckpointPolicy(every_steps=5), **more)


def test_fit_and_loop_end_with_the_same_bits_after_the_same_kills(tmp_path: Path) -> None:
    """Weights, optimizer, and a layer's counter in a variable that Keras does not list."""
    ends = {}
    for kind in ("fit", "loop"):
        calm = driver.undisturbed(_lives(tmp_path / f"calm-{kind}", kind))
        blows = [
            driver.Blow("step", 17, signal.SIGKILL),
            driver.Blow("step", 9, signal.SIGTERM),
            driver.within(random.Random(3)),
        ]
        storm = driver.stormy(_lives(tmp_path / f"storm-{kind}", kind), blows)
        assert [] == driver.differences(calm.digests, storm.digests)
        assert storm.resumes >= 3
        assert storm.in_mid_epoch >= 2
        receipts = [entry for entry in storm.resumed if entry["checkpoint"]]
        assert [[]] * len(receipts) == [entry["inexact"] for entry in receipts]
        assert all("1 plain variables" in entry["restored"] for entry in receipts)
        ends[kind] = calm.digests["file:end.npz"]
    assert ends["fit"] == ends["loop"]


def test_caveats_of_a_loop_are_reported(tmp_path: Path) -> None:
    """Each with its remedy: a cache after a shuffle, stateful random numbers, a stray variable."""
    lives = Lives(tmp_path, SCRIPT.with_name("inexact_loop.py"))
    driver.undisturbed(lives)
    warned = [entry["message"] for entry in lives.entries("warned")]
    receipt = lives.entries("resumed")[0]["inexact"]
    assert any("before cache()" in text for text in receipt)
    for part in ("RandomUniform", "variables that are in no checkpoint (stray"):
        assert any(part in text for text in warned), warned
    assert not any("evaluated" in text for text in warned)


def test_another_learning_rate_in_a_loop_is_reported(tmp_path: Path) -> None:
    """As in `fit`: that of the checkpoint is used, and the hint says how to change it."""
    lives = Lives(tmp_path, SCRIPT, args=["loop"], policy=CheckpointPolicy(every_steps=5))
    lives.start(driver.Blow("step", 17, signal.SIGKILL), lives.run.root / "report.jsonl")
    lives.wait()
    (lives.run.root / "report.jsonl").unlink()
    lives.change(args=["loop", "4e-3"])
    driver.stormy(lives, [])
    assert any(
        "learning rate of the optimizer is 0.004 in the script" in entry["message"]
        for entry in lives.entries("warned")
    )
    assert lives.entries("resumed")[-1]["changed"]
