"""Predictions of each epoch in a memory-mapped file."""

import keras
import numpy as np

rng = np.random.default_rng(21)
x, y = rng.random((96, 4)).astype("float32"), rng.random((96, 1)).astype("float32")
out = np.lib.format.open_memmap("pred.npy", mode="w+", dtype="float32", shape=(5, 96))


class Log(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        out[epoch] = self.model(x).numpy()[:, 0]
        out.flush()


keras.utils.set_random_seed(21)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(x, y, batch_size=12, epochs=5, verbose=0, callbacks=[Log()])
np.savez("weights.npz", *model.get_weights())
