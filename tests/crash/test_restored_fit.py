"""A finished stage that is restored leaves the script the same objects as its own fit."""

import signal
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

pytestmark = [pytest.mark.crash, pytest.mark.slow]


def test_the_result_of_a_restored_fit_equals_that_of_a_trained_one(tmp_path: Path) -> None:
    """History and callbacks, with their params and model."""
    script = Path(__file__).parent / "scripts" / "plotted.py"
    calm = driver.undisturbed(Lives(tmp_path / "calm", script))
    storm = driver.stormy(
        Lives(tmp_path / "storm", script), [Blow("after the line stage_ended", 1, signal.SIGKILL)]
    )
    print(storm.kills)
    assert ["crash", "done"] == storm.ends
    assert "file:seen.json" in calm.digests
    assert [] == driver.differences(calm.digests, storm.digests)
