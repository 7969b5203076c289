"""Train several models, one in each turn of a loop: ``stages.py WHICH``.

``data`` trains other data in each attempt; ``skips`` skips the second model once it has begun, and
ends; ``folds`` skips models on disk, with dropout and a cleared session.
"""

import os
import sys

import keras
import numpy as np

which = sys.argv[1]
rows = np.random.default_rng(3).normal(size=(96, 6)).astype("float32")
labels = (rows.sum(1) > 0).astype("float32")


def train(x: np.ndarray, y: np.ndarray, number: int) -> None:
    model = keras.Sequential(
        [
            keras.layers.Input((6,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy")
    open(f"begun{number}", "w").close()
    model.fit(x, y, batch_size=8, epochs=3, verbose=2)
    np.savez(f"model{number}.npz", *model.get_weights())


if which == "data":
    attempt = len(os.listdir())
    open(f"attempt{attempt}", "w").close()
    train(rows + attempt, labels, 0)
else:
    for number in range(3):
        if os.path.exists(f"model{number}.npz"):
            continue
        if which == "skips" and os.path.exists(f"begun{number}"):
            break
        keras.backend.clear_session()
        train(rows[number * 16 :], labels[number * 16 :], number)
