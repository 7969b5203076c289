"""Folds whose model file exists are skipped, so that a kernel can be run again."""

import os

import numpy as np
import tensorflow as tf

rng = np.random.default_rng(34)
X, y = rng.random((96, 8)).astype("float32"), rng.random(96)
folds = np.arange(96) % 3
for fold in range(3):
    path = f"model_{fold}.keras"
    if os.path.exists(path):
        print("fold", fold, "is done")
        continue
    model = tf.keras.Sequential([tf.keras.layers.Dense(8, "relu"), tf.keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(X[folds != fold], y[folds != fold], epochs=4, batch_size=16)
    model.save(path)
models = [tf.keras.models.load_model(f"model_{fold}.keras") for fold in range(3)]
np.savez("result.npz", *[w for model in models for w in model.get_weights()])
