"""A job whose repeated steps differ says so to a person, and is held where its spec asks for it."""

import shlex
from pathlib import Path

import pytest
from rig import Rig

SCRIPT = """
import os, signal, time
import keras
import numpy as np

x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")


class Odd(keras.callbacks.Callback):
    # another learning rate in each process; the first process is killed
    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = 0.001 * (1 + os.getpid() % 9973)

    def on_train_batch_end(self, batch, logs=None):
        if batch == 9 and not os.path.exists("killed"):
            open("killed", "w").close()
            journal = os.path.join(os.environ["REKINDLE_RUN_DIR"], "journal.jsonl")
            while "e0000-s00000008" not in open(journal).read():
                time.sleep(0.01)  # it is written while the training continues
            os.kill(os.getpid(), signal.SIGKILL)


model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)])
model.compile("adam", "mse")
model.fit(x, x[:, :2], batch_size=2, epochs=1, verbose=0, callbacks=[Odd()])
"""


@pytest.mark.slow(20)  # three starts of TensorFlow
def test_a_difference_is_shown_and_held_and_the_hint_goes_on(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    rig.drop(
        f'name = "odd"\nscript = "{tmp_path / "train.py"}"\nworkdir = "{tmp_path}"\n'
        '[checkpoint]\nevery = "4 steps"\non_difference = "hold"\n'
        '[retry]\nbackoff = "100ms..200ms"\n',
        "odd.toml",
    )
    assert rig.start("--until-idle").wait(300) == 0

    (row,) = rig.ls()
    assert (row["state"], row["differed_in"]) == ("held", 2)
    assert "step 9 differs (optimizer)" in row["reason"]
    (proved,) = rig.show("odd-1")["attempts"][1]["receipt"]["proved"]
    differs = proved["differs"]
    # step 9 is the first that is repeated, and the one after a save
    found = (proved["result"], differs["step"], differs["group"])
    assert found == ("different", 9, "optimizer")
    assert "not identical: step 9 differs (optimizer)" in rig.cli("show", "odd-1")
    assert "Not identical: repeated steps differ since attempt 2." in " ".join(
        rig.cli("ls").split()
    )
    assert [e["step"] for e in rig.entries("odd-1", "checkpoint_committed")] == [0, 4, 8]

    command = row["hint"].split("`")[1]
    assert command.startswith("rekindle release odd-1")
    rig.start()
    rig.cli(*shlex.split(command)[1:])
    rig.wait_state("odd-1", "done")
    shown = rig.show("odd-1")
    assert shown["attempts"][2]["from_step"] == 8
    assert (shown["attempts"][2]["cause"], rig.ls()[0]["differed_in"]) == ("done", 2)
