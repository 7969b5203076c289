"""A deep ensemble of objects: each member knows its file, and does nothing where that exists."""

from pathlib import Path

import numpy as np
import tensorflow as tf

rng = np.random.default_rng(95)
x = rng.normal(size=(48, 4)).astype("float32")
y = np.sin(x.sum(axis=1, keepdims=True)).astype("float32")


class Member:
    def __init__(self, index, folder):
        self.index = index
        self.path = Path(folder) / f"member_{index}.weights.h5"
        self.model = None

    def train(self, epochs):
        self.model = tf.keras.Sequential(
            [tf.keras.layers.Input((4,)), tf.keras.layers.Dense(6, activation="relu")]
        )
        self.model.add(tf.keras.layers.Dense(1))
        self.model.compile("adam", "mse")
        if self.path.exists():
            self.model.load_weights(self.path)
            return
        self.model.fit(x, y, epochs=epochs, batch_size=16, verbose=0)
        self.path.parent.mkdir(exist_ok=True)
        self.model.save_weights(self.path)


members = [Member(index, "ensemble") for index in range(5)]
waiting = list(members)
while waiting:
    waiting.pop(0).train(epochs=2)
answers = np.stack([member.model.predict(x, verbose=0) for member in members])
np.savez("result.npz", answers.mean(axis=0), answers.std(axis=0))
