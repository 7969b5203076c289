"""Kill loops of other libraries in environments that have neither Keras nor TensorFlow.

``REKINDLE_KERAS`` chooses them, as for the trainings of Keras beside this file.
"""

import os
import signal
from pathlib import Path

import keras_environments
import lives as driver
import pytest
from keras_environments import Environment
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy

HERE = [one for one in keras_environments.chosen(os.environ.get("REKINDLE_KERAS", "")) if one.loops]
SCRIPTS = Path(__file__).parent / "scripts"
CORPUS = Path(__file__).parents[1] / "scripts/corpus"

pytestmark = [pytest.mark.crash, pytest.mark.slow]


@pytest.fixture(params=HERE or [None], ids=lambda one: one.name if one else "none")
def environment(request: pytest.FixtureRequest) -> Environment:
    """An environment, made if it does not exist."""
    if request.param is None:
        pytest.skip("REKINDLE_KERAS names no environment without Keras")
    if request.param.find_python() is None:
        pytest.skip("needs a Python {}.{}".format(*request.param.python))
    request.param.make()
    return request.param


@pytest.mark.parametrize(
    "name",
    [
        *("torch_loop", "torch_loader", "torch_reproducible_loader", "torch_sampler"),
        *("jax_loop", "flax_loop", "numpy_loop"),
    ],
)
def test_a_killed_loop_ends_as_the_undisturbed_one(
    name: str, environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules, train states, keys, a DataLoader with workers; nothing imports Keras."""
    library = {"torch": "torch", "jax": "jax", "flax": "jax"}.get(name.partition("_")[0])
    if library not in (None, environment.name.partition("-")[0]):
        pytest.skip(f"{environment.name} has no {library}")
    monkeypatch.setenv("STRIKE_USED", "jax,matplotlib,pandas,sklearn,torch")

    folder_of = CORPUS if name == "torch_reproducible_loader" else SCRIPTS

    def lives(folder: str) -> Lives:
        policy = CheckpointPolicy(every_steps=4, keep=3)
        made = Lives(tmp_path / folder, folder_of / f"{name}.py", policy=policy, cold=True)
        made.change(python=str(environment.interpreter))
        return made

    calm = driver.undisturbed(lives("calm"))
    assert "file:end.npz" in calm.digests
    blows = [
        Blow("batch", 7, signal.SIGKILL, delay=0.001),
        Blow("batch", 9, signal.SIGTERM, delay=0.001),
        Blow("batch", 4, signal.SIGKILL, delay=0.001),
    ]
    storm = driver.stormy(lives("storm"), blows)
    said = [(one["stage"], one["step"], one["inexact"]) for one in storm.resumed]
    assert [] == driver.differences(calm.digests, storm.digests), (storm.kills, said)
    assert storm.proved >= 2, storm.proofs
    assert [] == [text for one in storm.resumed for text in one["inexact"]]
    if name == "torch_sampler":
        log = storm.run.log(len(storm.ends)).read_text()
        left = 10 - storm.resumed[-1]["step"] % 10
        assert f"{16 * left} samples read, 10 batches" in log, "from the batch of the checkpoint on"
