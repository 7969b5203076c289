"""A second model that a callback moves towards the first, as mean teacher and BYOL code."""

import numpy as np
import tensorflow as tf


class EMA(tf.keras.callbacks.Callback):
    def __init__(self, ema_model, decay=0.9):
        super().__init__()
        self.ema_model, self.decay = ema_model, decay

    def on_train_batch_end(self, batch, logs=None):
        for ours, theirs in zip(self.ema_model.weights, self.model.weights):
            ours.assign(self.decay * ours + (1 - self.decay) * theirs)


def build():
    return tf.keras.Sequential(
        [tf.keras.Input((8,)), tf.keras.layers.Dense(8, "relu"), tf.keras.layers.Dense(1)]
    )


rng = np.random.default_rng(44)
x, y = rng.random((96, 8)).astype("float32"), rng.random(96)
student, teacher = build(), build()
teacher.set_weights(student.get_weights())
student.compile("adam", "mse")
student.fit(x, y, epochs=4, batch_size=16, callbacks=[EMA(teacher)])
np.savez("result.npz", *student.get_weights(), *teacher.get_weights())
