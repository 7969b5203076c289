"""Loops written in a script end as undisturbed ones, whatever killed them."""

import ast
import random
import signal
import zlib
from pathlib import Path

import lives as driver
import pytest
from lives import Lives

from rekindle.jobs.job import CheckpointPolicy

pytestmark = [pytest.mark.crash, pytest.mark.slow]

SCRIPT = Path(__file__).parent / "scripts" / "loops.py"
NAMES = [
    "train_on_batch",
    "gradient_tape",
    "arrays_and_generator",
    "left_by_break",
    "handmade_statistics",
    "python_objects",
    "epochs_in_functions",
]


def test_every_loop_of_the_script_is_tested() -> None:
    """A loop without a test would prove nothing."""
    body = ast.parse(SCRIPT.read_text()).body[-1]
    assert isinstance(body, ast.If)
    defined = {
        node.name
        for node in ast.parse(SCRIPT.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    assert set(NAMES) == defined - {"network", "compiled", "keep", "mixed", "scaled"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.promise] if name == "gradient_tape" else [])
        for name in NAMES
    ],
)
def test_a_killed_loop_ends_as_the_undisturbed_one(name: str, tmp_path: Path) -> None:
    """Variables, the script's own state and draws, and what it observed in between."""
    calm = driver.undisturbed(_lives(tmp_path / "calm", name))
    assert {"file:end.npz", "file:seen.json"} <= calm.digests.keys()
    dice = random.Random(zlib.crc32(name.encode()))
    blows = [
        driver.Blow("batch", 12, signal.SIGKILL, delay=0.002),
        driver.within(dice),
        driver.anywhere(dice, validation=False),
        driver.within(dice),
    ]
    storm = driver.stormy(_lives(tmp_path / "storm", name), blows)
    print(name, storm.kills, [f"e{r['epoch']}-s{r['step']}" for r in storm.resumed])
    assert [] == driver.differences(calm.digests, storm.digests)
    assert len(storm.kills) >= 3
    assert storm.resumes >= 3
    if name in ("gradient_tape", "arrays_and_generator"):
        assert storm.in_mid_epoch >= 2


def test_a_loop_resumed_before_a_smaller_batch_computes_the_same_bits(tmp_path: Path) -> None:
    """The trace that computes a batch depends on earlier shapes: these are traced again."""
    calm = driver.undisturbed(_lives(tmp_path / "calm", "train_on_batch"))
    storm = driver.stormy(
        _lives(tmp_path / "storm", "train_on_batch"), [driver.Blow("step", 20, signal.SIGTERM)]
    )
    assert [receipt["step"] for receipt in storm.resumed] == [0, 20]
    assert [] == driver.differences(calm.digests, storm.digests)


def _lives(root: Path, name: str) -> Lives:
    # the script sets how often, unless it calls fit
    return Lives(root, SCRIPT, args=[name], policy=CheckpointPolicy(keep=2))
