"""Callbacks that share a dictionary with the data: harder samples in later epochs."""

import numpy as np
import tensorflow as tf

state = {"level": 0.2, "seen": []}


class Curriculum(tf.keras.utils.Sequence):
    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng(45)

    def __len__(self):
        return 6

    def __getitem__(self, i):
        x = np.random.default_rng(i).random((16, 8)) * state["level"]
        return x.astype("float32"), x.sum(1)


class Harder(tf.keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        state["seen"].append(logs["loss"])
        if len(state["seen"]) > 1 and state["seen"][-1] < state["seen"][-2]:
            state["level"] += 0.2


model = tf.keras.Sequential([tf.keras.layers.Dense(8, "relu"), tf.keras.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(Curriculum(), epochs=5, callbacks=[Harder()])
np.savez("result.npz", state["level"], state["seen"], *model.get_weights())
