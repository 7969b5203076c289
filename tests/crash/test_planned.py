"""Planned epochs and steps are those that the trainer knows, and no number is invented."""

from pathlib import Path

import pytest
from lives import Lives

from rekindle.jobs import heartbeat
from rekindle.jobs.heartbeat import Plan

SCRIPT = """
import keras
import numpy as np
import tensorflow as tf
from rekindle.jobs import resumable

x = np.arange(96.0, dtype="float32").reshape(48, 2) / 96


def network():
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def endless():
    while True:
        yield x[:8], x[:8, :1]


network().fit(x, x[:, :1], batch_size=8, epochs=3, verbose=0)
network().fit(tf.data.Dataset.from_tensor_slices((x, x[:, :1])).batch(16), epochs=2, verbose=0)
filtered = tf.data.Dataset.from_tensor_slices((x, x[:, :1])).filter(lambda a, b: True).batch(8)
network().fit(filtered, epochs=2, verbose=0)
network().fit(endless(), steps_per_epoch=4, epochs=2, verbose=0)
for step in resumable(steps=20, state={"sum": 0}):
    pass
for epoch in resumable(state={"sum": 0}).epochs(2):
    pass
"""


@pytest.mark.crash
@pytest.mark.slow(10)
def test_each_training_says_how_long_it_will_be(tmp_path: Path) -> None:
    """Arrays, datasets with and without a length, a generator, loops of steps and of epochs."""
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    lives = Lives(tmp_path, script)
    lives.start()
    lives.wait()
    receipts = lives.entries("resumed")
    planned = [(one["epochs"], one["steps_per_epoch"]) for one in receipts]
    assert planned == [(3, 6), (2, 3), (2, None), (2, 4), (None, 20), (2, None)], lives.log()
    beat = heartbeat.read(lives.run.heartbeat)
    assert beat is not None
    assert (beat.stage, beat.section, beat.plan) == (5, heartbeat.ENDED, Plan(2, None))
