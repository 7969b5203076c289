"""Train on an endless pipeline that reads slowly: ``endless.py SECONDS fit|loop``."""

import os
import sys
import time

import keras
import numpy as np
import tensorflow as tf

from rekindle.jobs import resumable

PAUSE = float(sys.argv[1]) if os.environ["REKINDLE_ATTEMPT"] != "1" else 0.0
AGAIN = 60
read = 0
x = np.random.default_rng(3).normal(size=(64, 6)).astype("float32")
y = (x.sum(1) > 0).astype("int32")


def slowly(rows):
    global read
    read += 1
    if read <= AGAIN:
        time.sleep(PAUSE)
    return rows


data = (
    tf.data.Dataset.from_tensor_slices((x, y))
    .repeat()
    .batch(8, drop_remainder=True)
    .map(lambda a, b: (tf.ensure_shape(tf.numpy_function(slowly, [a], a.dtype), (8, 6)), b))
)
model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(2, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy")
if sys.argv[2] == "fit":
    model.fit(data, steps_per_epoch=40, epochs=2, verbose=2)
else:
    loop = resumable(80, model=model)
    batches = loop.data(data)
    for _ in loop:
        model.train_on_batch(*next(batches))
