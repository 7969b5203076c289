"""A run folder named by time.strftime with logs, weights, a JSON history and TensorBoard in it."""

import json
import os
import time

import numpy as np
import tensorflow as tf


class History(tf.keras.callbacks.Callback):
    """Rewrite the history as JSON after each epoch."""

    def __init__(self, folder):
        super().__init__()
        self.file = os.path.join(folder, "history.json")

    def on_epoch_end(self, epoch, logs=None):
        rows = json.load(open(self.file)) if epoch else []
        with open(self.file, "w") as file:
            json.dump([*rows, {"epoch": epoch, **logs}], file)


log_dir = time.strftime("logs/fit/%Y%m%d-%H%M%S")
os.makedirs(log_dir)
rng = np.random.default_rng(63)
x, y = rng.random((96, 8)).astype("float32"), rng.random(96)
model = tf.keras.Sequential([tf.keras.layers.Dense(8, "relu"), tf.keras.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(
    x,
    y,
    epochs=4,
    batch_size=16,
    callbacks=[
        tf.keras.callbacks.TensorBoard(log_dir=log_dir),
        tf.keras.callbacks.CSVLogger(f"{log_dir}/log.csv"),
        tf.keras.callbacks.ModelCheckpoint(
            log_dir + "/cp-{epoch:04d}.weights.h5", save_weights_only=True
        ),
        History(log_dir),
    ],
)
for epoch in (1, 4):
    model.load_weights(f"{log_dir}/cp-{epoch:04d}.weights.h5")
    np.savez(f"result-{epoch}.npz", *model.get_weights())
os.rename(f"{log_dir}/log.csv", "log.csv")
os.rename(f"{log_dir}/history.json", "history.json")
