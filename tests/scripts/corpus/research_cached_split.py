"""A split that is drawn once and kept on disk, in the same random stream as what follows."""

import os

import numpy as np
import tensorflow as tf

np.random.seed(7)
x, y = np.linspace(0, 1, 96 * 4).reshape(96, 4), np.arange(96) % 2
if not os.path.exists("split.npy"):
    np.save("split.npy", np.random.permutation(96))
order = np.load("split.npy")
noise = np.random.normal(0, 0.1, x.shape)
x_train, y_train = (x + noise)[order[:80]], y[order[:80]]
model = tf.keras.Sequential([tf.keras.layers.Dense(8, "relu"), tf.keras.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(x_train, y_train, epochs=4, batch_size=16)
np.savez("result.npz", *model.get_weights())
