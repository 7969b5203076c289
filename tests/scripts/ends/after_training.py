"""A short training, and a failure in the code behind or around it, as the arguments say."""

import os
import sys

import keras
import numpy as np

how, stages = sys.argv[1], int(sys.argv[2])
if how == "mkdir":
    os.mkdir("out")
keras.utils.set_random_seed(1)
x = np.arange(64, dtype="float32").reshape(32, 2)
y = x[:, :1]
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", "mae")


class Leave(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1 and how == "exit0":
            sys.exit(0)
        if epoch == 1 and how == "caught":
            raise ValueError("enough")
        if epoch == 1 and how == "stopped":
            self.model.stop_training = True
        if epoch == 1 and how == "mkdir" and os.environ["REKINDLE_ATTEMPT"] == "1":
            os.kill(os.getpid(), 9)


try:
    for _ in range(stages):
        model.fit(x, y, batch_size=8, epochs=3, verbose=0, callbacks=[Leave()])
except ValueError:
    pass

if how == "type" and not os.path.exists("corrected"):
    model.save(3)
if how == "network" and os.environ["REKINDLE_ATTEMPT"] == "1":
    raise ConnectionRefusedError(111, "Connection refused")
model.save("model.keras")
