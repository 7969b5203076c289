"""Attempts forked by `tests/support/warm.py` equal those in a new interpreter."""

import signal
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy

pytestmark = [pytest.mark.crash, pytest.mark.slow]

SCRIPT = Path(__file__).parent / "scripts" / "matrix.py"


def test_a_forked_attempt_equals_one_in_a_new_interpreter(tmp_path: Path) -> None:
    """The same bits, the same journal entries, the same end of trainer and keeper."""
    blow = Blow("step", 9, signal.SIGKILL, keeper=True)
    results, journals = [], []
    for cold in (True, False):
        lives = Lives(
            tmp_path / str(cold),
            SCRIPT,
            args=["arrays_shuffled"],
            cold=cold,
            policy=CheckpointPolicy(every_steps=5),
        )
        results.append(driver.stormy(lives, [blow]))
        journals.append(
            # sorted: a checkpoint may be committed before or after the end of its epoch is noted
            sorted(
                repr((entry["attempt"], entry["kind"], entry.get("step"), entry.get("changed")))
                for entry in lives.entries(
                    "attempt_started",
                    "provenance",
                    "resumed",
                    "warned",
                    "checkpoint_committed",
                    "epoch_ended",
                    "attempt_ended",
                )
            )
        )
    assert [] == driver.differences(results[0].digests, results[1].digests)
    assert results[0].resumes == results[1].resumes == 1
    assert journals[0] == journals[1]
