"""Run a loop in a script that ignores every exception; ``guarded_loop.py WIDTH BATCH``."""

import sys

import keras
import numpy as np

from rekindle.jobs import resumable

width, batch = map(int, sys.argv[1:])
x = np.random.default_rng(3).normal(size=(208, 6)).astype("float32")
y = (x.sum(1) > 0).astype("int32")
model = keras.Sequential(
    [
        keras.layers.Input((6,)),
        keras.layers.Dense(width, activation="relu"),
        keras.layers.Dense(2, activation="softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy")
try:
    loop = resumable(model=model, every=5)
    for epoch in loop.epochs(3):
        for xs, ys in loop.batches((x, y), batch):
            model.train_on_batch(xs, ys)
except Exception as error:
    print("training failed:", error)
