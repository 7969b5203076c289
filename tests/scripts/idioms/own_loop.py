"""`train_on_batch` in a loop of the script's own, as in GAN examples."""

import sys
import time

import tensorflow as tf
from slow import data

x, y = data()
model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
model.compile("adam", "mse")
for _ in range(4):
    for start in range(0, 160, 16):
        model.train_on_batch(x[start : start + 16], y[start : start + 16])
end = time.monotonic() + float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
while time.monotonic() < end:
    model.train_on_batch(x[:16], y[:16])
