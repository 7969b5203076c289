"""Cyclical learning rate as a callback with its own counters and history."""

import numpy as np
import tensorflow as tf
from tensorflow.keras.callbacks import Callback


class CyclicLR(Callback):
    def __init__(self, base_lr=0.001, max_lr=0.006, step_size=7.0):
        super().__init__()
        self.base_lr, self.max_lr, self.step_size = base_lr, max_lr, step_size
        self.clr_iterations = 0.0
        self.history = {}

    def clr(self):
        cycle = np.floor(1 + self.clr_iterations / (2 * self.step_size))
        x = np.abs(self.clr_iterations / self.step_size - 2 * cycle + 1)
        return self.base_lr + (self.max_lr - self.base_lr) * np.maximum(0, (1 - x))

    def on_train_begin(self, logs=None):
        self.model.optimizer.learning_rate = self.base_lr

    def on_batch_end(self, batch, logs=None):
        self.clr_iterations += 1
        self.history.setdefault("lr", []).append(float(self.model.optimizer.learning_rate))
        self.model.optimizer.learning_rate = self.clr()


rng = np.random.default_rng(36)
X, y = rng.random((96, 8)).astype("float32"), rng.random(96)
model = tf.keras.Sequential([tf.keras.layers.Dense(8, "relu"), tf.keras.layers.Dense(1)])
model.compile("sgd", "mse")
clr = CyclicLR()
model.fit(X, y, epochs=4, batch_size=16, callbacks=[clr])
np.savez("result.npz", clr.history["lr"], *model.get_weights())
