"""A long seek is not a hang and can be stopped; the checkpoint is not held in memory after it."""

import json
import signal
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy, Limits

pytestmark = [pytest.mark.crash, pytest.mark.slow]

ENDLESS = Path(__file__).parent / "scripts" / "endless.py"
EVERY = CheckpointPolicy(every_steps=20)

HOLDING = '''
import gc, json, os, signal
import keras
import numpy as np

class Weighing(keras.callbacks.Callback):
    """Sum the bytes of the checkpoint that are still held."""

    def on_train_batch_end(self, batch, logs=None):
        if os.environ["REKINDLE_ATTEMPT"] == "1" and epochs == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        held = [o for o in gc.get_objects() if type(o).__name__ == "RestorePoint"]
        assert held
        weights.append(sum(array.nbytes for o in held for array in o.tensors.values()))

    def on_epoch_end(self, epoch, logs=None):
        global epochs
        epochs += 1

weights, epochs = [], 0
x = np.zeros((32, 6), "float32")
model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(x, x[:, :1], batch_size=8, epochs=3, verbose=2, callbacks=[Weighing()])
open("weights.json", "w").write(json.dumps(weights))
'''


@pytest.mark.slow(40)  # the seek itself
def test_a_seek_longer_than_the_hang_timeout_is_not_a_hang(tmp_path: Path) -> None:
    """It writes heartbeats between pieces, in its own section, before a step is trained."""
    lives = Lives(tmp_path, ENDLESS, args=["0.6", "fit"], policy=EVERY)
    report = tmp_path / "report.jsonl"
    lives.start(Blow("step", 65), report)
    assert lives.wait(300)["signal"] == signal.SIGKILL, lives.log()
    lives.change(limits=Limits(stop_grace=60.0, hang_timeout=25.0))
    lives.start()
    end = lives.wait(300)
    assert end["cause"] == "done", lives.log()
    assert (60, "e0001-s00000060") == tuple(
        lives.entries("resumed")[-1][key] for key in ("step", "checkpoint")
    )
    # all 60 batches take 36 s, but no silence is as long as the limit
    assert 0 < end["longest"]["seek"] < 25


@pytest.mark.parametrize("kind", ["fit", "loop"])
def test_a_stop_during_a_seek_ends_at_once(kind: str, tmp_path: Path) -> None:
    """Nothing changed, so nothing is saved; the existing checkpoint remains."""
    lives = Lives(tmp_path, ENDLESS, args=["2.0", kind], policy=EVERY)
    report = tmp_path / "report.jsonl"
    lives.start(Blow("step", 65), report)
    assert lives.wait(300)["signal"] == signal.SIGKILL, lives.log()
    report.unlink()
    before = sorted(path.name for path in lives.run.checkpoints.iterdir())
    lives.start(Blow("seek", 3, signal.SIGTERM), report)
    end = lives.wait(300)
    assert report.exists(), lives.log()
    assert ("preempted", 75, False) == (
        end["cause"],
        end["exit_code"],
        end["killed_after_grace"],
    ), lives.log()
    assert before == sorted(path.name for path in lives.run.checkpoints.iterdir())
    assert [1] == [entry["attempt"] for entry in lives.entries("resumed")]


def test_the_checkpoint_is_not_held_in_memory_during_training(tmp_path: Path) -> None:
    """It is a second copy of model and optimizer; also if an epoch begins from it."""
    script = tmp_path / "holding.py"
    script.write_text(HOLDING)
    lives = Lives(tmp_path, script, policy=CheckpointPolicy(every_epochs=1))
    lives.start()
    assert lives.wait(300)["signal"] == signal.SIGKILL, lives.log()
    result = driver.stormy(lives, [])
    assert (1, 4) == (result.resumed[-1]["epoch"], result.resumed[-1]["step"])
    # the list is a global of the script: those of the first attempt are in it, too
    assert [0] * 12 == json.loads((lives.work / "weights.json").read_text())
