"""A loop that averages weights in lists and dicts of variables, given to `resumable` as state."""

import keras
import numpy as np
import tensorflow as tf

from rekindle.jobs import resumable

rng = np.random.default_rng(84)
x, y = rng.random((96, 8)).astype("float32"), rng.random((96, 1)).astype("float32")
model = keras.Sequential(
    [
        keras.Input((8,)),
        keras.layers.Dense(8, "relu"),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(1),
    ]
)
model.compile("adam", "mse")
shadow = [tf.Variable(weight) for weight in model.trainable_weights]
stats = {"mean": tf.Variable(0.0), "rows": [[0.0, np.random.default_rng(3)]]}
row = stats["rows"][0]
loop = resumable(model=model, state={"shadow": shadow, "stats": stats})
for epoch in loop.epochs(5):
    for xb, yb in loop.batches((x, y), 16):
        loss = model.train_on_batch(xb, yb)
        for mine, weight in zip(shadow, model.trainable_weights):
            mine.assign(0.9 * mine + 0.1 * weight)
        stats["mean"].assign(0.9 * stats["mean"] + 0.1 * float(loss))
        stats["rows"][0][0] += stats["rows"][0][1].random()
averages = [variable.numpy() for variable in shadow]
np.savez("result.npz", *model.get_weights(), *averages, stats["mean"].numpy(), stats["rows"][0][0])
