"""cache(filename) that is filled during most of the training, as with a large first pass."""

import numpy as np
import tensorflow as tf

rng = np.random.default_rng(62)
x, y = rng.random((240, 8)).astype("float32"), rng.random(240)
train = tf.data.Dataset.from_tensor_slices((x, y)).map(lambda x, y: (x * 2, y)).cache("cached")
train = train.batch(4)
model = tf.keras.Sequential([tf.keras.layers.Dense(8, "relu"), tf.keras.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(train, epochs=2)
np.savez("result.npz", *model.get_weights())
