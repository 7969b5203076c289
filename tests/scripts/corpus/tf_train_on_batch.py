"""Own epochs with train_on_batch, as older GAN and reinforcement code."""

import numpy as np
import tensorflow as tf

rng = np.random.default_rng(28)
x, y = rng.random((96, 8)).astype("float32"), rng.integers(0, 2, 96)
model = tf.keras.Sequential([tf.keras.layers.Dense(8, activation="relu"), tf.keras.layers.Dense(1)])
model.compile("adam", "mse")
for epoch in range(30):
    order = np.random.permutation(96)
    for start in range(0, 96, 16):
        chosen = order[start : start + 16]
        loss = model.train_on_batch(x[chosen], y[chosen])
    print(epoch, loss)
np.savez("result.npz", *model.get_weights())
