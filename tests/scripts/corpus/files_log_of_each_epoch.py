"""A log of each epoch, never closed: the next one takes its name, and the earlier one is read."""

import keras
import numpy as np

totals = []


class EpochLogs(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.out = open(f"epoch-{epoch}.txt", "w")
        if epoch:
            with open(f"epoch-{epoch - 1}.txt") as before:
                totals.append(sum(float(line) for line in before))

    def on_train_batch_end(self, batch, logs=None):
        self.out.write(f"{logs['loss']:.6f}\n")


rng = np.random.default_rng(34)
x, y = rng.random((64, 4)).astype("float32"), rng.random(64)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
model.compile("adam", "mse")
logs = EpochLogs()
model.fit(x, y, epochs=4, batch_size=8, verbose=0, callbacks=[logs])
logs.out.close()
np.savez("result.npz", *model.get_weights(), totals=totals)
