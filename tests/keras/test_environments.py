"""Kill trainings in environments with other versions of Keras, TensorFlow and Python.

``REKINDLE_KERAS`` chooses them (``make test-keras``): all, names, or ``rotating``. With
``REKINDLE_KERAS_RECORD=FILE`` one that passes writes what was proved, as JSON.
"""

import json
import os
from pathlib import Path

import keras_environments
import lives as driver
import pytest
from keras_environments import Environment
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy

CHOSEN = os.environ.get("REKINDLE_KERAS", "")
RECORD = os.environ.get("REKINDLE_KERAS_RECORD")
SCRIPT = Path(__file__).parent / "scripts" / "kinds_of_data.py"
STAGES = 5

# minutes: each start imports another TensorFlow
pytestmark = [pytest.mark.crash, pytest.mark.slow]


HERE = keras_environments.chosen(CHOSEN)


@pytest.fixture(
    params=[one for one in HERE if not one.loops] or [None],
    ids=lambda one: one.name if one else "none",
)
def environment(request: pytest.FixtureRequest) -> Environment:
    """An environment, made if it does not exist."""
    if request.param is None:
        pytest.skip("REKINDLE_KERAS names no environment; `make test-keras` runs all")
    if request.param.find_python() is None:
        pytest.skip("needs a Python {}.{}".format(*request.param.python))
    request.param.make()
    return request.param


def test_killed_in_mid_epoch_it_ends_as_the_undisturbed_one(
    environment: Environment, tmp_path: Path
) -> None:
    """Arrays, datasets, a PyDataset and a generator, each killed within an epoch."""

    def lives(folder: str) -> Lives:
        policy = CheckpointPolicy(every_steps=5, keep=3)
        made = Lives(tmp_path / folder, SCRIPT, policy=policy, cold=True)
        made.change(python=str(environment.interpreter), env=environment.variables)
        return made

    calm = driver.undisturbed(lives("calm"))
    storm = lives("storm")
    # a stage commits nine checkpoints: each attempt is killed in the next stage, five steps after
    # its last checkpoint
    counts = (5, 9, 10, 9, 10) if environment.exact else (3, 5)
    result = driver.stormy(storm, [Blow("before_rename", count) for count in counts])
    assert len(result.kills) == len(counts)
    differences = driver.differences(calm.digests, result.digests)
    if environment.exact:
        assert_exact(storm, result, differences)
        proved = f"{result.proved} relaunches, {result.in_mid_epoch} from within an epoch"
    else:
        assert_whole_epochs(storm, result, differences)
        proved = "2 relaunches of arrays and datasets, identical"
    if RECORD:
        Path(RECORD).write_text(json.dumps({"proved": proved}))


def assert_exact(lives: Lives, result: driver.Result, differences: list[str]) -> None:
    """Nothing differs, every relaunch was from within an epoch and proves it."""
    receipts = [(one["stage"], one["step"]) for one in result.resumed]
    assert [] == differences, (result.kills, receipts)
    assert result.in_mid_epoch >= STAGES, receipts
    assert result.proved == STAGES, result.proofs
    assert [] == [text for one in result.resumed for text in one["inexact"]]
    assert [] == [one["message"] for one in lives.entries("warned")]


def assert_whole_epochs(lives: Lives, result: driver.Result, differences: list[str]) -> None:
    """Relaunches begin at epochs; all is identical; function and cost are named."""
    receipts = [(one["stage"], one["step"]) for one in result.resumed]
    assert [] == differences, (result.kills, receipts)
    assert result.resumes >= 2, receipts
    assert 0 == result.in_mid_epoch, receipts
    said = [one["message"] for one in lives.entries("warned")]
    assert any("TensorFlowTrainer.fit" in text and "whole epochs" in text for text in said)
    assert all("Only whole epochs" in one["inexact"][0] for one in result.resumed)
