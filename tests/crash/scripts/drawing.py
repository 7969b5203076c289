"""Run four fits on data whose random numbers cannot be reproduced."""

import keras
import numpy as np

x = np.random.default_rng(3).normal(size=(64, 6)).astype("float32")
y = (x.sum(1) > 0).astype("int32")


def batches():
    while True:
        rows = np.random.permutation(64)[:8]
        yield x[rows], y[rows]


class Rows(keras.utils.PyDataset):
    """Draw in several threads, or through Keras."""

    def __init__(self, noise, **more):
        super().__init__(**more)
        self.noise = noise

    def __len__(self):
        return 8

    def __getitem__(self, index):
        part = slice(index * 8, index * 8 + 8)
        return x[part] + self.noise(), y[part]


class Drawing(keras.callbacks.Callback):
    """Draw from the generator of the data, between batches."""

    def on_train_batch_end(self, batch, logs=None):
        np.random.rand()


model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(2, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy")
endless = batches()
model.fit(endless, steps_per_epoch=12, epochs=2, verbose=2, callbacks=[Drawing()])
model.fit(Rows(np.random.rand, workers=2), verbose=2)
model.fit(Rows(lambda: np.array(keras.random.normal(()))), verbose=2)
model.fit(endless, steps_per_epoch=12, verbose=2)
