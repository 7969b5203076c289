"""Which training of earlier attempts a relaunch resumes, and what it holds the job for."""

import signal
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy

pytestmark = [pytest.mark.crash, pytest.mark.slow]


def test_models_on_disk_are_skipped_and_the_others_are_those_of_an_undisturbed_run(
    tmp_path: Path,
) -> None:
    """Each of 3 models has another number of batches: 36, 30 and 24 steps."""
    calm = driver.undisturbed(_lives(tmp_path / "calm", "folds"))
    storm = driver.stormy(
        _lives(tmp_path / "storm", "folds"),
        [
            Blow("step", 44, signal.SIGKILL),
            Blow("step", 8, signal.SIGTERM),
            Blow("step", 20, signal.SIGKILL),
        ],
    )
    print(storm.kills, [f"f{r['stage']}-s{r['step']}" for r in storm.resumed])
    assert 3 == len(storm.kills)
    assert [] == [
        name
        for name in driver.differences(calm.digests, storm.digests)
        if name.startswith(("file:", "epoch:"))
    ]
    assert all(receipt["inexact"] == [] for receipt in storm.resumed)


def test_other_data_is_held_before_the_first_step_and_trained_once_it_is_accepted(
    tmp_path: Path,
) -> None:
    lives = _lives(tmp_path, "data")
    _kill(lives, 10)
    lives.start()
    assert "permanent" == lives.wait()["cause"], lives.log()
    failed = lives.entries("failed")[-1]
    assert "has changed since the checkpoint was made" in failed["message"]
    assert "the content of the data differs" in failed["message"]
    assert "--allow-change" in failed["hint"]
    lives.change(allow_change=True)
    lives.start()
    assert "done" == lives.wait()["cause"], lives.log()
    receipt = lives.entries("resumed")[-1]
    assert receipt["step"] > 0
    assert ["stage 0 was found by its order: the content of the data differs"] == [
        text for text in receipt["changed"] if "stage 0" in text
    ]


def test_a_script_that_ends_without_its_unfinished_training_is_held(tmp_path: Path) -> None:
    lives = _lives(tmp_path, "skips")
    _kill(lives, 44)
    lives.start()
    assert "permanent" == lives.wait()["cause"], lives.log()
    message = lives.entries("failed")[-1]["message"]
    assert message.startswith("The script ended without stage 1 (stages.py:"), message


def _kill(lives: Lives, step: int) -> None:
    report = lives.run.root / "report.jsonl"
    lives.start(Blow("step", step), report)
    assert signal.SIGKILL == lives.wait()["signal"], lives.log()
    report.unlink()


def _lives(root: Path, which: str) -> Lives:
    return Lives(
        root,
        Path(__file__).parent / "scripts" / "stages.py",
        args=[which],
        policy=CheckpointPolicy(every_steps=3, keep=3),
    )
