"""Sequence model on JAX, fed by a PyDataset that draws crops, with a rate that is reduced."""

import os

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np


class Crops(keras.utils.PyDataset):
    """Return windows at random places of a long series."""

    def __init__(self, series, seed):
        super().__init__()
        self.series = series
        self.dice = np.random.default_rng(seed)

    def __len__(self):
        return 11

    def __getitem__(self, index):
        starts = self.dice.integers(0, len(self.series) - 13, 16)
        windows = np.stack([self.series[start : start + 13] for start in starts])
        return windows[:, :12, None], windows[:, 12:]


series = np.sin(np.arange(600) / 7).astype("float32")
model = keras.Sequential([keras.layers.LSTM(8), keras.layers.Dropout(0.1), keras.layers.Dense(1)])
model.compile("rmsprop", "mse")
history = model.fit(
    Crops(series, 1),
    epochs=4,
    validation_data=Crops(series, 2),
    callbacks=[keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=1, min_delta=1.0)],
)
np.savez("end.npz", *map(np.asarray, model.get_weights()), np.array(history.history["val_loss"]))
