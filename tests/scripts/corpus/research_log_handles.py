"""Text files that callbacks hold open, and one that they open for each line."""

import numpy as np
import tensorflow as tf


class Held(tf.keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.file = open("held.txt", "a")

    def on_epoch_end(self, epoch, logs=None):
        self.file.write(f"{epoch} {logs['loss']:.6f}\n")

    def on_train_end(self, logs=None):
        self.file.close()


class Opened(tf.keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        with open("opened.txt", "a") as file:
            file.write(f"{batch} {logs['loss']:.6f}\n")


rng = np.random.default_rng(64)
x, y = rng.random((96, 8)).astype("float32"), rng.random(96)
model = tf.keras.Sequential([tf.keras.layers.Dense(8, "relu"), tf.keras.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(x, y, epochs=4, batch_size=16, callbacks=[Held(), Opened()])
np.savez("result.npz", *model.get_weights())
