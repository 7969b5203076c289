"""Train for as many epochs as the arguments say: ``planned.py EPOCHS SCHEDULE``."""

import argparse
import json

import keras
import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("epochs", type=int)
parser.add_argument(
    "schedule", choices=["constant", "cosine", "function", "early", "generator", "ema"]
)
settings = parser.parse_args()

dice = np.random.default_rng(3)
x = dice.normal(size=(104, 6)).astype("float32")
y = x.sum(1, keepdims=True)
model = keras.Sequential(
    [
        keras.layers.Input((6,)),
        keras.layers.Dense(12, activation="relu"),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(1),
    ]
)
rate = 0.01
if settings.schedule == "cosine":
    rate = keras.optimizers.schedules.CosineDecay(0.01, 13 * settings.epochs)
model.compile(keras.optimizers.Adam(rate, use_ema=settings.schedule == "ema"), "mse")
callbacks = [keras.callbacks.CSVLogger("log.csv")]
if settings.schedule == "function":
    callbacks.append(
        keras.callbacks.LearningRateScheduler(
            lambda epoch, rate: rate * (1 - epoch / (2 * settings.epochs))
        )
    )
if settings.schedule == "early":
    callbacks.append(keras.callbacks.EarlyStopping("loss", patience=1, min_delta=1e9))
data: dict[str, object] = {"x": x, "y": y, "batch_size": 8}
if settings.schedule == "generator":
    # one pass over all epochs, none of which begins where it began
    data = {
        "x": ((x[at % 96 : at % 96 + 8], y[at % 96 : at % 96 + 8]) for at in range(0, 10**6, 8)),
        "steps_per_epoch": 13,
    }
history = model.fit(**data, epochs=settings.epochs, verbose=2, callbacks=callbacks)
with open("history.json", "w") as file:
    json.dump([history.epoch, history.history], file)
