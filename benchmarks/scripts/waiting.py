"""Train with steps that wait, as those of an accelerator do, for benchmarks of whole jobs.

waiting.py MILLIONS STEP_SECONDS STEPS [STEPS_PER_EPOCH]
"""

import sys
import time

import keras
import numpy as np
import tensorflow as tf

millions, seconds, steps = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
per_epoch = int(sys.argv[4]) if len(sys.argv) > 4 else 100


def wait():
    time.sleep(seconds)
    return np.float32(0)


class Waits(keras.Model):
    """Train by waiting, and by a small change of each variable."""

    def __init__(self):
        super().__init__()
        # with two slots of an optimizer, three times as much is saved
        self.parts = [
            self.add_weight(shape=(max(int(millions * 1e6), 1),), initializer="zeros")
            for _ in range(3)
        ]

    def call(self, inputs):
        return inputs

    def train_step(self, data):
        waited = tf.numpy_function(wait, [], tf.float32)
        waited.set_shape(())
        for part in self.parts:
            part.assign_add(tf.fill(tf.shape(part), waited + 1e-6))
        return {"loss": waited}


model = Waits()
model.compile("sgd", "mse")
x = np.zeros((per_epoch, 1), "float32")
model.fit(x, x, batch_size=1, epochs=-(-steps // per_epoch), verbose=0)
