"""A stage that had ended gives the script all that it would have found after its own fit."""

import signal
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

pytestmark = [pytest.mark.crash, pytest.mark.slow]


def test_what_a_script_finds_after_a_fit_that_was_put_back(tmp_path: Path) -> None:
    """History and callbacks, with their params and model, as of a fit that has just ended."""
    script = Path(__file__).parent / "scripts" / "plotted.py"
    calm = driver.undisturbed(Lives(tmp_path / "calm", script))
    storm = driver.stormy(
        Lives(tmp_path / "storm", script), [Blow("after the line stage_ended", 1, signal.SIGKILL)]
    )
    print(storm.kills)
    assert ["crash", "done"] == storm.ends
    assert "file:seen.json" in calm.digests
    assert [] == driver.differences(calm.digests, storm.digests)
