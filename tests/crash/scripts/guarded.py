"""Run an ordinary script with an optional change: ``guarded.py CHANGE``.

With a second word it ignores whatever ``fit`` raises, as many scripts do.
"""

import json
import sys
import time

import keras
import numpy as np

change = sys.argv[1]
rows = 160 if change == "shorter" else 208
dice = np.random.default_rng(3)
x = dice.normal(size=(rows, 6)).astype("float32")
y = (x.sum(1) > 0).astype("int32")

layers = [
    keras.layers.Input((6,)),
    keras.layers.Dense(24 if change == "wider" else 12, activation="relu"),
    keras.layers.Dropout(0.3),
]
if change == "deeper":
    layers.append(keras.layers.Dense(12, activation="relu"))
model = keras.Sequential([*layers, keras.layers.Dense(2, activation="softmax")])
rate = 0.002 if change == "faster" else 0.001
if change == "schedule":
    rate = keras.optimizers.schedules.ExponentialDecay(0.001, 100, 0.9)
optimizer = keras.optimizers.SGD(0.01) if change == "sgd" else keras.optimizers.Adam(rate)
model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
callbacks = [keras.callbacks.CSVLogger("log.csv")]
if change == "callbacks":
    callbacks.append(keras.callbacks.EarlyStopping("loss", patience=9))


class Stuck(keras.callbacks.Callback):
    """Hang in one batch, the first time."""

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 8:
            try:
                with open("stuck", "x"):
                    pass
            except FileExistsError:
                return
            time.sleep(60)


if change == "stuck":
    callbacks.append(Stuck())
history = None
try:
    history = model.fit(
        x,
        y,
        batch_size=8,
        epochs=2 if change == "fewer" else 3,
        verbose=2,
        callbacks=callbacks,
        validation_data=(x[:40], y[:40]),
    )
except Exception as error:
    if len(sys.argv) < 3:
        raise
    print("training failed:", error)
with open("history.json", "w") as file:
    json.dump(history and history.history, file)
