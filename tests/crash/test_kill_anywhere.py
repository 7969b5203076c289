"""Kill a training anywhere, any number of times: it ends as the undisturbed one.

Each script of the matrix is run twice through the real keeper, once undisturbed and once killed
repeatedly, and everything that both runs produced is compared. Equality alone would prove
nothing, since a run from scratch equals a run from scratch: the tests also require attempts that
were resumed within an epoch, and print where.

``REKINDLE_CRASH_KILLS=1000`` spreads that many kills over the matrix (``make crash``), different
ones with another ``REKINDLE_CRASH_SEED``; ``REKINDLE_CRASH_RECORD=FILE`` writes one JSON line for
each storm. ``REKINDLE_CRASH_KERAS=DIR`` takes Keras from a folder that ``pip install --target``
has filled with another version.
"""

import json
import math
import os
import zlib
from pathlib import Path

import lives as driver
import matrix
import pytest
from lives import Lives
from matrix import EVERY, NAMES, STORM

pytestmark = [pytest.mark.crash, pytest.mark.slow]

# one for each kind of data; the others differ in one property each
PROMISE = {"dataset_shuffled"}
KILLS = int(os.environ.get("REKINDLE_CRASH_KILLS", "0"))
SEED = int(os.environ.get("REKINDLE_CRASH_SEED", "1"))
RECORD = os.environ.get("REKINDLE_CRASH_RECORD")


def kills_of(name: str) -> int:
    """Return the number of kills of a script: one or two, or its part of a long series."""
    return math.ceil(KILLS / len(NAMES)) if KILLS else 1 + zlib.crc32(name.encode()) % 2


def test_the_matrix_is_not_empty() -> None:
    """An empty parametrization would pass."""
    assert len(NAMES) >= 40
    assert sum(map(kills_of, NAMES)) >= 60


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.promise] if name in PROMISE else []) for name in NAMES],
)
def test_a_killed_training_ends_as_the_undisturbed_one(name: str, tmp_path: Path) -> None:
    """Model, optimizer, seeds, History, callbacks, files and metrics: digest by digest."""
    calm = driver.undisturbed(matrix.lives(tmp_path / "calm", name))
    assert len(calm.digests) > 10
    left = kills_of(name)
    storm = 0
    while left > 0:
        count = min(left, STORM)
        blows = matrix.blows(name, f"{name} {SEED} {storm}", count)
        lives = matrix.lives(tmp_path / f"storm-{storm}", name)
        result = driver.stormy(lives, blows)
        different = driver.differences(calm.digests, result.digests)
        record = {
            "name": name,
            "storm": storm,
            "kills": result.kills,
            "resumed": result.resumes,
            "in_mid_epoch": result.in_mid_epoch,
            "at": [f"e{r['epoch']}-s{r['step']}" for r in result.resumed],
            "identical": not different,
            "different": different,
        }
        print(json.dumps(record))
        if RECORD:
            with open(RECORD, "a") as file:
                file.write(json.dumps(record) + "\n")
        assert [] == different, record
        assert result.kills, "no blow hit"
        # the first blow hit within an epoch, after a checkpoint
        assert result.resumes >= 1, record
        assert result.in_mid_epoch >= 1, record
        _assert_repeated_steps(lives)
        left -= count
        storm += 1


def _assert_repeated_steps(lives: Lives) -> None:
    """A few steps are repeated after a save on SIGTERM, and otherwise at most two save intervals.

    The second one is trained while a checkpoint is written; the next save waits for that.
    """
    saved = {
        entry["attempt"] for entry in lives.entries("attempt_ended") if entry["exit_code"] == 75
    }
    receipts, latest = {}, {}
    for receipt in lives.entries("resumed"):
        receipts.setdefault(receipt["attempt"], receipt)
        latest[receipt["attempt"]] = receipt
    for attempt, receipt in receipts.items():
        # an attempt stopped before it trained had nothing to save, and a stage that an
        # exception left has no final checkpoint: its last steps are repeated
        if (
            attempt - 1 in saved
            and attempt - 1 in receipts
            and latest[attempt - 1]["stage"] == receipt["stage"]
        ):
            # one execution has up to eight steps in the matrix
            assert receipt["lost_steps"] in (*range(5), 8), receipt
        assert receipt["lost_steps"] <= 2 * EVERY + 7, receipt
