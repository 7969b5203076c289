"""Train under ``every = "auto"``: ``near.py fit|loop|stages``.

Where the file `strike` lies in the folder, the process kills itself once, three steps after the
third checkpoint of the training.
"""

import os
import re
import signal
import sys
import time
from pathlib import Path

import keras
import numpy as np

from rekindle.jobs import resumable

kind = sys.argv[1]
flag = Path("strike")
dice = np.random.default_rng(3)
x = dice.normal(size=(96, 6)).astype("float32")
y = x.sum(1, keepdims=True)


def strike(step: int, stage: int = 0) -> None:
    """Wait as a slow step does; be killed at the right place."""
    time.sleep(0.02)
    if not flag.exists():
        return
    folder = Path(os.environ["REKINDLE_RUN_DIR"], "checkpoints")
    names = (re.fullmatch(r"e\d+-s(\d+)(?:-f(\d+))?", name) for name in os.listdir(folder))
    found = sorted(int(one[1]) for one in names if one and int(one[2] or 0) == stage)
    if len(found) > 2 and step == found[-1] + 3:
        flag.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


class Steps(keras.callbacks.Callback):
    """Count the steps of the whole training."""

    def __init__(self, begun: int = 0, stage: int = 0) -> None:
        super().__init__()
        self.steps, self.stage = begun, stage

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        strike(self.steps, self.stage)


def network():
    model = keras.Sequential(
        [
            keras.layers.Input((6,)),
            keras.layers.Dense(12, activation="relu"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(1),
        ]
    )
    model.compile("adam", "mse")
    return model


if kind == "loop":
    model, losses = network(), []
    loop = resumable(model=model)
    for epoch in loop.epochs(6):
        for xs, ys in loop.batches((x, y), 8, shuffle=True):
            losses.append(float(model.train_on_batch(xs, ys)))
            loop.log(loss=losses[-1])
            strike(loop.step)
    Path("losses.txt").write_text(repr(losses))
else:
    begun = stage = 0
    if kind == "stages":
        network().fit(x, y, batch_size=8, epochs=1, verbose=0)
        begun, stage = 12, 1
    log = keras.callbacks.CSVLogger("log.csv")
    best = keras.callbacks.ModelCheckpoint("best.weights.h5", "loss", save_best_only=True)
    best.save_weights_only = True
    known = network().fit(
        x, y, batch_size=8, epochs=6, verbose=2, callbacks=[log, best, Steps(begun, stage)]
    )
    Path("history.txt").write_text(repr(known.history))
