"""A callback that iterates its own shuffled dataset and draws from numpy at each epoch's end."""

import numpy as np
import tensorflow as tf

rng = np.random.default_rng(50)
x, y = rng.random((96, 8)).astype("float32"), rng.integers(0, 2, 96)
test = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(96).batch(16)
scores = []


class Probe(tf.keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        x_one, _ = next(iter(test))
        noise = np.random.normal(0, 0.1, x_one.shape)
        scores.append(float(np.mean(self.model(x_one + noise).numpy())))


model = tf.keras.Sequential([tf.keras.layers.Dense(8, "relu"), tf.keras.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(x, y, epochs=5, batch_size=16, callbacks=[Probe()])
np.savez("result.npz", scores, *model.get_weights())
