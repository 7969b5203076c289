"""Large arrays that a callback only holds are not copied into each checkpoint."""

import signal
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy
from rekindle.state.run import checkpoints, tensors

pytestmark = [pytest.mark.crash, pytest.mark.slow]


def test_constant_arrays_of_a_callback_are_not_saved_and_changed_ones_are(tmp_path: Path) -> None:
    """No checkpoint contains a large array that nothing changes; the end is the same."""
    calm = driver.undisturbed(_lives(tmp_path / "calm"))
    lives = _lives(tmp_path / "storm")
    storm = driver.stormy(lives, [Blow("step", 31, signal.SIGKILL)])
    print(storm.kills, [f"e{r['epoch']}-s{r['step']}" for r in storm.resumed])
    assert 1 == storm.in_mid_epoch
    assert [] == driver.differences(calm.digests, storm.digests)
    assert [[], []] == [receipt["inexact"] for receipt in storm.resumed]
    arrays, _ = tensors.load(checkpoints.scan(lives.run.checkpoints)[0].state)
    large = [name for name, array in arrays.items() if array.nbytes > 1 << 19]
    assert 1 == len(large), large  # the array that changes
    assert (300_000,) == arrays[large[0]].shape


def test_an_array_that_differs_between_attempts_is_reported(tmp_path: Path) -> None:
    """It cannot be restored, since no checkpoint contains it: the receipt says so."""
    lives = _lives(tmp_path)
    report = lives.run.root / "report.jsonl"
    lives.start(Blow("step", 31), report)
    assert lives.wait()["signal"] == signal.SIGKILL, lives.log()
    report.unlink()
    lives.change(args=["2"])
    result = driver.stormy(lives, [])
    found = " ".join(result.resumed[-1]["inexact"])
    assert "The array Validating.x_val is not that of earlier attempts" in found
    assert "pair" in found
    assert "moving" not in found


def _lives(root: Path) -> Lives:
    return Lives(
        root,
        Path(__file__).parent / "scripts" / "holding.py",
        args=["1"],
        policy=CheckpointPolicy(every_steps=7),
    )
