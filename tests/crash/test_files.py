"""Files that a script writes, under kills of real trainings."""

import os
import signal
from pathlib import Path

import corpus
import lives as driver
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy

pytestmark = [pytest.mark.crash, pytest.mark.slow]


def lives(root: Path, name: str) -> Lives:
    made = Lives(
        root, corpus.FOLDER / f"{name}.py", policy=CheckpointPolicy(every_steps=2), grace=30
    )
    made.change(freeze_clock=True)
    return made


def files(of: Lives) -> dict[str, str]:
    """Digest the results; folders named by the clock differ between two jobs."""
    found = driver.digests(of).items()
    return {name: digest for name, digest in found if name.startswith("file:")}


def test_a_dated_folder_keeps_its_name_with_a_frozen_clock(tmp_path: Path) -> None:
    calm, struck = (lives(tmp_path / name, "research_dated_run") for name in ("calm", "struck"))
    driver.undisturbed(calm)
    blows = [Blow("step", 8, signal.SIGKILL), Blow("batch", 9, signal.SIGTERM)]
    result = driver.stormy(struck, blows)
    assert len(result.kills) == 2
    assert result.resumes == 2
    assert files(calm) == files(struck)
    (folder,) = (struck.work / "logs" / "fit").iterdir()
    assert len([*folder.glob("*.weights.h5")]) == 4
    assert struck.entries("warned") == []


def test_a_cache_that_a_killed_attempt_locked_is_named_and_can_be_moved(tmp_path: Path) -> None:
    calm, struck = (
        lives(tmp_path / name, "tf_cache_file_first_pass") for name in ("calm", "struck")
    )
    driver.undisturbed(calm)
    struck.start(Blow("step", 20, signal.SIGKILL), struck.run.root / "report.jsonl")
    assert struck.wait()["signal"] == signal.SIGKILL
    struck.start()
    assert struck.wait()["cause"] == "permanent"
    (failed,) = struck.entries("failed")
    assert failed["error_type"] == "LeftBehind"
    assert "cached_0.lockfile of an earlier attempt exists" in failed["message"]
    assert os.system(failed["hint"].split("`")[1]) == 0
    struck.start()
    assert struck.wait()["cause"] == "done", struck.log()
    assert struck.result().resumes == 1
    assert files(calm) == files(struck)
