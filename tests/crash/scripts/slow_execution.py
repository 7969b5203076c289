"""Twenty steps in one execution of about four seconds, during which Python cannot act."""

import json
import time

import keras
import numpy as np
import tensorflow as tf

x = np.random.default_rng(3).normal(size=(480, 6)).astype("float32")
y = (x.sum(1) > 0).astype("int32")


class Slow(keras.layers.Layer):
    """Takes its time outside of Python's main thread."""

    def call(self, inputs, training=False):
        def wait(value):
            time.sleep(0.2)
            return value

        if not training:
            return inputs
        waited = tf.numpy_function(wait, [inputs], inputs.dtype)
        return inputs + 0 * tf.ensure_shape(waited, inputs.shape)


model = keras.Sequential(
    [
        keras.layers.Input((6,)),
        Slow(),
        keras.layers.Dense(12, activation="relu"),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(2, activation="softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy", steps_per_execution=20, jit_compile=False)
history = model.fit(x, y, batch_size=8, epochs=1, verbose=2)
with open("history.json", "w") as file:
    json.dump(history.history, file)
