"""A Keras with an unknown training loop: resumed at whole epochs, and reported."""

import signal
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy

pytestmark = [pytest.mark.crash, pytest.mark.slow]

SCRIPT = Path(__file__).parent / "scripts" / "matrix.py"


@pytest.mark.parametrize("name", ["arrays_shuffled", "dataset_shuffled"])
def test_an_unknown_keras_is_resumed_from_whole_epochs_and_reported(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt begins at an epoch, the end is the same, receipt and log give the reason."""
    monkeypatch.setenv("STRIKE_UNKNOWN_KERAS", "1")
    policy = CheckpointPolicy(every_steps=5)
    calm = driver.undisturbed(Lives(tmp_path / "calm", SCRIPT, args=[name], policy=policy))
    lives = Lives(tmp_path / "storm", SCRIPT, args=[name], policy=policy)
    result = driver.stormy(lives, [Blow("step", 30), Blow("batch", 9, signal.SIGTERM, delay=0.001)])
    assert 2 == len(result.kills)
    assert [0, 21, 21] == [receipt["step"] for receipt in result.resumed]
    assert 2 == result.resumes
    assert all("Only whole epochs" in receipt["inexact"][0] for receipt in result.resumed)
    said = [entry["message"] for entry in lives.entries("warned")]
    assert any("TensorFlowTrainer.fit differs" in text and "whole epochs" in text for text in said)
    assert [] == driver.differences(calm.digests, result.digests)
