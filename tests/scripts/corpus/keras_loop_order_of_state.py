"""A GradientTape loop whose rows of each epoch are drawn from a generator in `state=`."""

import keras
import numpy as np
import tensorflow as tf

from rekindle.jobs import resumable

keras.utils.set_random_seed(5)
rng = np.random.default_rng(8)
x, y = rng.random((96, 5)).astype("float32"), rng.random((96, 1)).astype("float32")
model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(8), keras.layers.Dense(1)])
optimizer = keras.optimizers.Adam(0.01)
seen = []
loop = resumable(model=model, optimizer=optimizer, state={"rng": rng, "seen": seen})
for _epoch in loop.epochs(5):
    order = rng.permutation(len(x))
    for a, b in loop.batches((x[order], y[order]), batch_size=12, shuffle=False):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(a) - b) ** 2)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        seen.append(float(loss))
np.savez("end.npz", np.array(seen), *model.get_weights())
