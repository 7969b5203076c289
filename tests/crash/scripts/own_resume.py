"""Resume by itself after an end, from the newest ModelCheckpoint of the script.

``own_resume.py WHEN`` saves after each of the ``epochs``; or of so many ``batches``, under the
number of the current epoch, in mixed precision, and builds a model before it loads the other.
``drawing`` does so, too, and then creates a generator outside of the model.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np

when = sys.argv[1]
if when == "batches":
    keras.mixed_precision.set_global_policy("mixed_float16")  # wraps the optimizer in a second one
dice = np.random.default_rng(5)
x = dice.normal(size=(208, 6)).astype("float32")
y = (x.sum(1) > 0).astype("int32")

saved = sorted(Path("saved").glob("*.keras"))
if not saved or when != "epochs":
    model = keras.Sequential(
        [
            keras.layers.Input((6,)),
            keras.layers.Dense(12, activation="relu"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(2, activation="softmax", dtype="float32"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
if saved:
    model = keras.models.load_model(saved[-1])
if when == "drawing":
    dice = keras.random.SeedGenerator(3)
history = model.fit(
    x,
    y,
    batch_size=16,
    epochs=6,
    verbose=2,
    validation_data=(x[:40], y[:40]),
    initial_epoch=int(saved[-1].stem) if saved else 0,
    callbacks=[
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
        keras.callbacks.ReduceLROnPlateau("val_loss", patience=0, factor=0.5, min_delta=0.2),
        keras.callbacks.CSVLogger("log.csv"),
        keras.callbacks.ModelCheckpoint(
            "saved/{epoch:04d}.keras", save_freq=5 if when == "batches" else "epoch"
        ),
    ],
)
with open("history.json", "w") as file:
    json.dump([history.epoch, history.history, history.params], file)
