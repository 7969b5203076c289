"""Random search whose results a script appends to a file after each trial."""

import csv
import os
import random

import numpy as np
import tensorflow as tf

random.seed(3)
np.random.seed(3)
tf.random.set_seed(3)
x = np.random.rand(96, 8).astype("float32")
y = x.sum(1)
best, best_loss = None, float("inf")
if not os.path.exists("results.csv"):
    with open("results.csv", "w") as file:
        csv.writer(file).writerow(["units", "rate", "loss"])
for trial in range(3):
    units, rate = random.choice([4, 8, 16]), 10 ** random.uniform(-3, -2)
    model = tf.keras.Sequential(
        [tf.keras.Input((8,)), tf.keras.layers.Dense(units, "relu"), tf.keras.layers.Dense(1)]
    )
    model.compile(tf.keras.optimizers.Adam(rate), "mse")
    history = model.fit(x, y, validation_split=0.25, epochs=2, batch_size=16, verbose=0)
    loss = min(history.history["val_loss"])
    with open("results.csv", "a") as file:
        csv.writer(file).writerow([units, f"{rate:.6f}", f"{loss:.6f}"])
    if loss < best_loss:
        best, best_loss = model, loss
best.save("best.keras")
