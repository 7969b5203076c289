"""State that iterators of a pipeline share is restored, or the receipt names it."""

from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy

pytestmark = [pytest.mark.crash, pytest.mark.slow]

SCRIPT = Path(__file__).parent / "scripts" / "hidden.py"
EVERY = CheckpointPolicy(every_steps=3)


@pytest.mark.parametrize(
    ("name", "steps"), [("shuffles", [16, 14]), ("caches", [14, 24]), ("clean", [14])]
)
def test_shuffles_caches_and_variables_of_a_pipeline_are_exact(
    name: str, steps: list[int], tmp_path: Path
) -> None:
    """After passes, validations and callbacks that drew from the same."""
    calm = driver.undisturbed(Lives(tmp_path / "calm", SCRIPT, args=[name], policy=EVERY))
    lives = Lives(tmp_path / "struck", SCRIPT, args=[name], policy=EVERY)
    result = driver.stormy(lives, [Blow("step", count) for count in steps])
    assert len(result.kills) == result.resumes == len(steps)
    assert [] == driver.differences(calm.digests, result.digests)
    assert [[]] * len(result.resumed) == [receipt["inexact"] for receipt in result.resumed]
    assert [] == lives.entries("warned")
    # a pass to fill a cache is read only where something random is before it
    filled = [word for one in result.resumed for word in one["restored"] if "cache" in word]
    assert bool(filled) == (name == "caches")


def test_results_in_the_order_in_which_they_are_ready_are_named(tmp_path: Path) -> None:
    lives = Lives(tmp_path, SCRIPT, args=["unordered"], policy=EVERY)
    receipt = driver.undisturbed(lives).resumed[0]
    assert ["another order each time"] == [
        part for text in receipt["inexact"] for part in ["another order each time"] if part in text
    ]
