"""Train a model in two fits, the second with the rate, data and files that the arguments say."""

import argparse
import json
import os

import keras
import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--lr", type=float, default=0.05)
parser.add_argument("--momentum", type=float, default=0.0)
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--units", type=int, default=12)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--adam", action="store_true")
parser.add_argument("--out", default="out")
settings = parser.parse_args()

keras.utils.set_random_seed(settings.seed)
dice = np.random.default_rng(3)
x = dice.normal(size=(104, 6)).astype("float32")
y = x.sum(1, keepdims=True)
model = keras.Sequential(
    [
        keras.layers.Input((6,)),
        keras.layers.Dense(settings.units, activation="relu"),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(1),
    ]
)
model.compile(keras.optimizers.SGD(0.01), "mse")
model.fit(x, y, batch_size=13, epochs=2, verbose=2)

if settings.adam:
    optimizer: keras.optimizers.Optimizer = keras.optimizers.Adam(settings.lr)
else:
    optimizer = keras.optimizers.SGD(settings.lr, settings.momentum)
model.compile(optimizer, "mse")
os.makedirs(settings.out, exist_ok=True)


class Rates(keras.callbacks.Callback):
    """Note the rate of each epoch, which is halved after it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self.seen.append(round(float(self.model.optimizer.learning_rate), 6))

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        optimizer = self.model.optimizer
        optimizer.learning_rate = float(optimizer.learning_rate) / 2


rates = Rates()
log = keras.callbacks.CSVLogger(os.path.join(settings.out, "log.csv"))
history = model.fit(
    x, y, batch_size=settings.batch, epochs=settings.epochs, verbose=2, callbacks=[rates, log]
)
with open(os.path.join(settings.out, "result.json"), "w") as file:
    json.dump([history.epoch, rates.seen, int(model.optimizer.iterations)], file)
