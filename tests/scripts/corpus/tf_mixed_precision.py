"""mixed_float16 with loss scaling, as TensorFlow's mixed precision guide."""

import numpy as np
import tensorflow as tf
from tensorflow.keras import mixed_precision

mixed_precision.set_global_policy("mixed_float16")
rng = np.random.default_rng(30)
x, y = rng.random((96, 16)).astype("float32"), rng.integers(0, 3, 96)
inputs = tf.keras.Input(shape=(16,))
h = tf.keras.layers.Dense(16, activation="relu")(inputs)
h = tf.keras.layers.Dropout(0.1)(h)
h = tf.keras.layers.Dense(3)(h)
outputs = tf.keras.layers.Activation("softmax", dtype="float32")(h)
model = tf.keras.Model(inputs, outputs)
optimizer = mixed_precision.LossScaleOptimizer(
    tf.keras.optimizers.Adam(0.01), initial_scale=2.0**15, dynamic_growth_steps=5
)
model.compile(loss="sparse_categorical_crossentropy", optimizer=optimizer, metrics=["accuracy"])
model.fit(x, y, batch_size=16, epochs=4, validation_split=0.2)
np.savez("result.npz", *model.get_weights())
