"""cache(filename) in the working folder, filled in the first epoch."""

import numpy as np
import tensorflow as tf

rng = np.random.default_rng(57)
x, y = rng.random((96, 8)).astype("float32"), rng.random(96)
train = tf.data.Dataset.from_tensor_slices((x, y)).map(lambda x, y: (x * 2, y)).cache("cached")
train = train.shuffle(96).batch(16)
model = tf.keras.Sequential([tf.keras.layers.Dense(8, "relu"), tf.keras.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(train, epochs=4)
np.savez("result.npz", *model.get_weights())
