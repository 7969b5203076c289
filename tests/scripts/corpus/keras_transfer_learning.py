"""Frozen base, new head, then the base unfrozen at a low rate, as the transfer learning guide."""

import keras
import numpy as np
from keras import layers

rng = np.random.default_rng(12)
x, y = rng.random((96, 8, 8, 3)).astype("float32"), rng.integers(0, 2, 96)
base_model = keras.Sequential(
    [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()]
)
base_model.compile("adam", "mse")
base_model.fit(x, rng.random((96, 6, 6, 4)), epochs=2, batch_size=16, verbose=0)

base_model.trainable = False
inputs = keras.Input(shape=(8, 8, 3))
h = layers.Rescaling(scale=1 / 127.5, offset=-1)(inputs)
h = base_model(h, training=False)
h = layers.GlobalAveragePooling2D()(h)
h = layers.Dropout(0.2)(h)
model = keras.Model(inputs, layers.Dense(1)(h))
model.compile(
    optimizer=keras.optimizers.Adam(),
    loss=keras.losses.BinaryCrossentropy(from_logits=True),
    metrics=[keras.metrics.BinaryAccuracy()],
)
model.fit(x, y, batch_size=16, epochs=3)
base_model.trainable = True
model.compile(
    optimizer=keras.optimizers.Adam(1e-5),
    loss=keras.losses.BinaryCrossentropy(from_logits=True),
    metrics=[keras.metrics.BinaryAccuracy()],
)
model.fit(x, y, batch_size=16, epochs=3)
np.savez("result.npz", *model.get_weights())
