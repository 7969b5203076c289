"""Weights of odd types and values, and names that Keras numbers differently, survive a kill."""

import signal
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy

pytestmark = [pytest.mark.crash, pytest.mark.slow]

SCRIPT = Path(__file__).parent / "scripts" / "odd_weights.py"
STEP = Blow("step", 14, signal.SIGKILL)


def _lives(root: Path, name: str) -> Lives:
    return Lives(root, SCRIPT, args=[name], policy=CheckpointPolicy(every_steps=3))


def _end(lives: Lives, *blows: Blow) -> dict:
    for blow in (*blows, None):
        lives.start(blow, lives.run.root / "report.jsonl")
        end = lives.wait()
    return end


@pytest.mark.parametrize(
    ("name", "blows"),
    [
        ("odd_types", [STEP]),
        ("infinite_by_design", [STEP]),
        ("stop_in_a_batch", [Blow("validation", 25, signal.SIGTERM)]),
        ("features_on_disk", [STEP]),
        ("draws_while_traced", [STEP, Blow("step", 38)]),
    ],
)
def test_a_killed_training_ends_as_the_undisturbed_one(
    name: str, blows: list[Blow], tmp_path: Path
) -> None:
    calm = driver.undisturbed(_lives(tmp_path / "calm", name))
    struck = _lives(tmp_path / "struck", name)
    assert _end(struck, *blows)["cause"] == "done", struck.log()
    result = struck.result()
    assert result.resumes >= len(blows), "a blow did not hit"
    ours, theirs = (
        {k: v for k, v in one.digests.items() if k.startswith(("file:", "epoch:"))}
        for one in (calm, result)
    )
    assert driver.differences(ours, theirs) == []
    said = [one for receipt in result.resumed for one in receipt["inexact"]]
    assert said == [] and not struck.entries("warned")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("becomes_nan", "not finite"),
        ("other_vocabulary", "the vocabulary of the StringLookup layer has changed"),
        ("other_names", "the settings of the layer layer_2"),
    ],
)
def test_another_model_or_nan_ends_the_attempt_for_good(
    name: str, words: str, tmp_path: Path
) -> None:
    lives = _lives(tmp_path, name)
    assert _end(lives, STEP)["cause"] == "permanent", lives.log()
    assert words in lives.entries("failed")[-1]["message"]


def test_a_finished_stage_with_lookup_tables_is_restored_without_a_warning(tmp_path: Path) -> None:
    calm = driver.undisturbed(_lives(tmp_path / "calm", "odd_types"))
    struck = _lives(tmp_path / "struck", "odd_types")
    end = _end(struck, Blow("after the line stage_ended", 1, signal.SIGKILL))
    assert end["cause"] == "done", struck.log()
    assert "was finished; restored its result" in struck.log()
    assert driver.differences(calm.digests, struck.result().digests) == []
    assert not struck.entries("warned")
