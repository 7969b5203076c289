"""Layers that draw from numpy in `call`: once in each trace, as is often not meant."""

import random

import keras
import numpy as np

np.random.seed(5)
random.seed(5)
x = np.random.rand(120, 6).astype("float32")
y = np.random.randint(0, 3, 120)


class Jitter(keras.layers.Layer):
    def call(self, inputs, training=False):
        if not training:
            return inputs
        return inputs * np.float32(random.uniform(0.8, 1.2)) + np.float32(np.random.normal(0, 0.1))


model = keras.Sequential(
    [Jitter(), keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "softmax")]
)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
first = model.fit(x, y, batch_size=12, epochs=2, validation_split=0.2, verbose=0)
second = model.fit(x, y, batch_size=12, epochs=2, validation_split=0.2, verbose=0)
np.savez("result.npz", *model.get_weights(), *first.history["loss"], *second.history["loss"])
