"""A callback that opens its log when it is made, and saves weights beside it."""

import os

import keras
import numpy as np


class WeightsAndLog(keras.callbacks.Callback):
    def __init__(self, folder, period=2):
        super().__init__()
        os.makedirs(folder, exist_ok=True)
        self.folder, self.period = folder, period
        self.log = open(os.path.join(folder, "epochs.log"), "w")

    def on_epoch_end(self, epoch, logs=None):
        epoch += 1
        self.log.write(f"{epoch}: {logs['loss']:.7f}\n")
        if epoch % self.period == 0:
            self.model.save_weights(os.path.join(self.folder, f"w{epoch:03}.weights.h5"))

    def on_train_end(self, logs=None):
        self.log.close()


rng = np.random.default_rng(32)
x, y = rng.random((72, 5)).astype("float32"), rng.random(72)
model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(6, "relu"), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(x, y, epochs=5, batch_size=12, verbose=0, callbacks=[WeightsAndLog("out")])
with open("out/epochs.log") as log:
    lines = log.read().splitlines()
np.savez("result.npz", *model.get_weights(), lines=len(lines))
