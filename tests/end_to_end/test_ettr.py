"""The time of a job that was killed divides into classes that add up to what a clock says."""

import itertools
from pathlib import Path

import pytest
from rig import Rig, wait_for

SCRIPT = """
import os, signal, time
import tensorflow as tf
import numpy as np

from tensorflow import keras

x = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
kills = [16, 38]


class Slow(tf.keras.callbacks.Callback):
    step = 0

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        time.sleep(0.1)
        attempt = int(os.environ["REKINDLE_ATTEMPT"])
        if attempt <= len(kills) and self.step == kills[attempt - 1]:
            os.kill(os.getpid(), signal.SIGKILL)


model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)])
model.compile("adam", "mse")
model.fit(x, x[:, :2], batch_size=2, epochs=2, verbose=0, callbacks=[Slow()])
"""


@pytest.mark.slow(30)  # three starts of TensorFlow
def test_the_classes_add_up_and_the_steps_of_a_kill_are_repeated(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    rig.drop(
        f'name = "e"\nscript = "{tmp_path / "train.py"}"\nworkdir = "{tmp_path}"\n'
        '[checkpoint]\nevery = "10 steps"\n[retry]\nbackoff = "1s..1s"\n',
        "e.toml",
    )
    rig.start()
    live = wait_for(lambda: rig.ls() and rig.show("e-1")["time"], "the first attempt")
    assert live["useful"] is not None
    rig.wait_state("e-1", "done")
    shown = rig.show("e-1")
    found, attempts = shown["time"], shown["attempts"]

    states = {e["state"]: e["at"] for e in reversed(rig.entries("e-1", "state_changed"))}
    wall = rig.entries("e-1", "attempt_ended")[-1]["t"] - states["starting"]
    assert [one["cause"] for one in attempts] == ["crash", "crash", "done"]
    # the daemon looks at an end once a second
    assert wall - 0.1 <= found["held"] <= wall + 2.0
    assert found["held"] == pytest.approx(found["useful"] + sum(found["losses"].values()), abs=0.02)
    assert found["unknown"] == found["person"] == found["suspended"] == 0
    assert found["ettr"] == pytest.approx(found["useful"] / found["held"], abs=1e-4)
    # 15 of 16 steps are counted, then 5 of 6 repeated ones; of each attempt the first is a start's
    assert [one["lost_steps"] for one in attempts] == [0, 5, 7]
    first, second, third = (one["times"] for one in attempts)
    assert first["repeat"] == 0
    for times, steps in ((second, 4), (third, 6)):
        assert 0.1 * steps <= times["repeat"] <= 0.1 * steps + 2.0
        assert times["restore"] > 0
        assert times["seek"] > 0
    assert found["useful"] >= 0.1 * (60 - 3 * 2)
    waits = [b["started_at"] - a["ended_at"] for a, b in itertools.pairwise(attempts)]
    # and the daemon's own time before and after each attempt
    assert 0 < sum(waits) <= found["losses"]["queue"] + 0.01
    assert found["losses"]["queue"] <= sum(waits) + 1.5 * len(attempts)
    assert found["losses"]["init"] >= sum(0.5 for _ in attempts)
    assert f"ETTR {found['ettr']:.3f}" in rig.cli("show", "e-1")
    assert f"ETTR {found['ettr']:.3f}" in rig.cli("report", "--since", "1h")
