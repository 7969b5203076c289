"""Attempts forked by `tests/support/warm.py` are those of an interpreter of their own."""

import signal
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy

pytestmark = [pytest.mark.crash, pytest.mark.slow]

SCRIPT = Path(__file__).parent / "scripts" / "matrix.py"


def test_a_forked_attempt_is_that_of_an_interpreter_of_its_own(tmp_path: Path) -> None:
    """The same bits, the same lines in the journal, the same death of trainer and keeper."""
    blow = Blow("step", 9, signal.SIGKILL, keeper=True)
    results, told = [], []
    for cold in (True, False):
        lives = Lives(
            tmp_path / str(cold),
            SCRIPT,
            args=["arrays_shuffled"],
            cold=cold,
            policy=CheckpointPolicy(every_steps=5),
        )
        results.append(driver.stormy(lives, [blow]))
        told.append(
            [
                (entry["kind"], entry["attempt"], entry.get("step"), entry.get("changed"))
                for entry in lives.entries(
                    "attempt_started",
                    "provenance",
                    "resumed",
                    "warned",
                    "checkpoint_committed",
                    "epoch_ended",
                    "attempt_ended",
                )
            ]
        )
    assert [] == driver.differences(results[0].digests, results[1].digests)
    assert results[0].went_on == results[1].went_on == 1
    assert told[0] == told[1]
