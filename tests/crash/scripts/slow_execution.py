"""Run twenty steps in one execution, during which Python cannot act.

Run as ``slow_execution.py fit`` or ``loop``, with the seconds that a step takes more.
"""

import json
import sys
import time

import keras
import numpy as np
import tensorflow as tf

PAUSE = float(sys.argv[2]) if sys.argv[2:] else 0.0
x = np.random.default_rng(3).normal(size=(480, 6)).astype("float32")
y = (x.sum(1) > 0).astype("int32")


class Slow(keras.layers.Layer):
    """Take time outside of Python's main thread."""

    def call(self, inputs, training=False):
        def wait(value):
            time.sleep(PAUSE)
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
optimizer = keras.optimizers.Adam()
if sys.argv[1] == "fit":
    model.compile(
        optimizer, "sparse_categorical_crossentropy", steps_per_execution=20, jit_compile=False
    )
    seen = model.fit(x, y, batch_size=8, epochs=1, verbose=2).history
else:
    from rekindle.jobs import resumable

    seen = []

    @tf.function
    def twenty(images, labels):
        loss = 0.0
        for start in tf.range(0, 160, 8):
            with tf.GradientTape() as tape:
                out = model(images[start : start + 8], training=True)
                losses = keras.losses.sparse_categorical_crossentropy(
                    labels[start : start + 8], out
                )
                loss = tf.reduce_mean(losses)
            optimizer.apply(tape.gradient(loss, model.trainable_variables))
        return loss

    optimizer.build(model.trainable_variables)
    loop = resumable(3, model=model, optimizer=optimizer, state={"seen": seen})
    batches = loop.data((x, y), 160)
    for _step in loop:
        seen.append(float(twenty(*next(batches))))
with open("history.json", "w") as file:
    json.dump(seen, file)
