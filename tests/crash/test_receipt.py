"""The receipt lists what cannot be restored exactly, each with its remedy."""

import signal
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy, NewCode

pytestmark = [pytest.mark.crash, pytest.mark.slow]


def test_what_cannot_be_restored_exactly_is_reported_with_its_remedy(tmp_path: Path) -> None:
    """For the data before the first step, for the step once it is traced, and in later receipts."""
    lives = Lives(
        tmp_path,
        Path(__file__).parent / "scripts" / "inexact.py",
        policy=CheckpointPolicy(every_steps=3),
    )
    result = driver.stormy(lives, [Blow("step", 5)])
    first, second = result.resumed
    of_data = [
        "random numbers in parallel threads",
        "calls a Python function",
        "options.deterministic = False",
    ]
    of_step = ["RandomStandardNormal", "variables that are in no checkpoint (temperature)"]
    for part in of_data:
        assert any(part in text for text in first["inexact"]), first["inexact"]
    for part in of_data + of_step:
        assert any(part in text for text in second["inexact"]), second["inexact"]
    warned = " ".join(entry["message"] for entry in lives.entries("warned"))
    for part in of_step:
        assert part in warned
    assert ("e0000-s00000003", 3, 2) == (second["checkpoint"], second["step"], second["lost_steps"])
    assert second["lost_seconds"] > 0
    assert any("model variables" in text for text in second["restored"])
    assert signal.SIGKILL == lives.entries("attempt_ended")[0]["signal"]


def test_an_ordinary_training_has_no_caveats(tmp_path: Path) -> None:
    """A warning in every training would be ignored."""
    lives = Lives(
        tmp_path, Path(__file__).parent / "scripts" / "matrix.py", args=["dataset_shuffled"]
    )
    result = driver.undisturbed(lives)
    assert [] == result.resumed[0]["inexact"]
    assert [] == lives.entries("warned")


def test_new_code_is_in_the_receipt_and_ends_no_guard(tmp_path: Path) -> None:
    """Repeated steps are then not comparable; until a checkpoint of the new code is resumed."""
    lives = Lives(
        tmp_path,
        Path(__file__).parent / "scripts" / "matrix.py",
        args=["dataset_shuffled"],
        policy=CheckpointPolicy(every_steps=3),
    )
    lives.change(new_code=NewCode(at=1.0, attempt=2, before="a" * 64, after="b" * 64))
    first, second = driver.stormy(lives, [Blow("step", 5)]).resumed
    assert first.get("new_code") is None
    assert second["new_code"]["attempt"] == 2
    assert "repeated steps are not comparable" in second["new_code"]["text"]
