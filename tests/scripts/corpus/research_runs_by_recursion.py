"""Runs that a function calls one after another by calling itself; finished ones are passed."""

import os

import keras
import numpy as np

rng = np.random.default_rng(97)
x = rng.normal(size=(48, 4)).astype("float32")
y = x.sum(axis=1)


def train_all(left):
    if not left:
        return
    name, *others = left
    if not os.path.isfile(f"{name}.npz"):
        model = keras.Sequential([keras.layers.Dense(5, activation="relu"), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        model.fit(x, y, epochs=2, batch_size=16, verbose=0)
        np.savez(f"{name}.npz", *model.get_weights())
    train_all(others)


train_all(["first", "second", "third", "fourth"])
