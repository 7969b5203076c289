"""A PyDataset with a counter, the clock and the system in it; another for validation."""

import os
import time

import keras
import numpy as np

np.random.seed(4)
rng = np.random.default_rng(13)
x, y = rng.random((96, 6)).astype("float32"), rng.random((96, 1)).astype("float32")


class Noisy(keras.utils.PyDataset):
    def __init__(self):
        super().__init__()
        self.served = 0
        self.mean = np.zeros(6)

    def __len__(self):
        return 8

    def __getitem__(self, index):
        self.served += 1
        rows = x[index * 12 : index * 12 + 12]
        self.mean = 0.9 * self.mean + 0.1 * rows.mean(0)
        return rows * (1 + 0.01 * self.served) - self.mean, y[index * 12 : index * 12 + 12]


class Crops(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        rows = np.random.permutation(96)[:8]
        return x[rows], y[rows]


class Jitter(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.layers[0].kernel.assign_add(np.random.normal(0, 0.01, (6, 8)))


class System(keras.utils.PyDataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        own = np.random.default_rng(int.from_bytes(os.urandom(4), "big"))
        rows = slice(index * 12, index * 12 + 12)
        return x[rows] + own.normal(0, 0.1, (12, 6)).astype("float32"), y[rows]


def clocked():
    own = np.random.default_rng(time.time_ns())
    while True:
        for start in range(0, 96, 12):
            noise = own.normal(0, 0.1, (12, 6)).astype("float32")
            yield x[start : start + 12] + noise, y[start : start + 12]


def build():
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    return model


one = build()
history = one.fit(Noisy(), epochs=3, verbose=0)
np.savez("counter.npz", *one.get_weights())
two = build()
history = two.fit(
    x, y, batch_size=12, epochs=3, verbose=0, validation_data=Crops(), callbacks=[Jitter()]
)
np.savez("validation.npz", *two.get_weights(), *history.history["val_loss"])
three = build()
three.fit(System(), epochs=3, verbose=0)
np.savez("system.npz", *three.get_weights())
four = build()
four.fit(clocked(), steps_per_epoch=8, epochs=3, verbose=0)
np.savez("clock.npz", *four.get_weights())
