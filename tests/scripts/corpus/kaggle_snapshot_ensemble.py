"""Snapshot ensemble: a callback with a cosine schedule keeps weights in a list."""

import math

import numpy as np
import tensorflow as tf


class SnapshotEnsemble(tf.keras.callbacks.Callback):
    def __init__(self, n_epochs, n_cycles, lrate_max):
        super().__init__()
        self.epochs, self.cycles, self.lr_max = n_epochs, n_cycles, lrate_max
        self.lrates = []
        self.snapshots = []

    def on_epoch_begin(self, epoch, logs=None):
        per_cycle = self.epochs // self.cycles
        lr = self.lr_max / 2 * (math.cos(math.pi * (epoch % per_cycle) / per_cycle) + 1)
        self.model.optimizer.learning_rate = lr
        self.lrates.append(lr)

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % (self.epochs // self.cycles) == 0:
            self.snapshots.append(self.model.get_weights())


rng = np.random.default_rng(37)
X, y = rng.random((96, 8)).astype("float32"), rng.random(96)
model = tf.keras.Sequential([tf.keras.layers.Dense(8, "relu"), tf.keras.layers.Dense(1)])
model.compile(tf.keras.optimizers.SGD(momentum=0.9), "mse")
snapshot = SnapshotEnsemble(6, 3, 0.05)
model.fit(X, y, epochs=6, batch_size=16, callbacks=[snapshot], verbose=0)
predictions = []
for weights in snapshot.snapshots:
    model.set_weights(weights)
    predictions.append(model.predict(X, verbose=0))
np.savez("result.npz", snapshot.lrates, *predictions)
