"""A callback that leaves a kill time to fall between two batches, and the data of all idioms."""

import time

import numpy as np


def data(samples: int = 160):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(samples, 8)).astype("float32")
    return x, (x[:, :1] > 0).astype("float32")


def pause(logs=None):
    time.sleep(0.02)
