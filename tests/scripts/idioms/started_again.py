"""The script starts itself again to set the hash seed (keras#10871): reproducible research code."""

import os
import sys

if os.environ.get("PYTHONHASHSEED") != "42":
    os.environ["PYTHONHASHSEED"] = "42"
    os.execv(sys.executable, [sys.executable, "-u", *sys.argv, "--again"])

assert "--again" in sys.argv

import tensorflow as tf  # noqa: E402
from slow import data, pause  # noqa: E402

x, y = data()
model = tf.keras.Sequential([tf.keras.layers.Dense(16), tf.keras.layers.Dense(1)])
model.compile("adam", "mse")
slow = tf.keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: pause())
model.fit(x, y, batch_size=16, epochs=4, callbacks=[slow], verbose=2)
