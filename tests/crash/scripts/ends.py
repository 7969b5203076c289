"""Train one model by many calls of fit, as tutorials with a loop over epochs do."""

import os
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

tf.keras.utils.set_random_seed(3)
rng = np.random.default_rng(1)
x, y = rng.random((64, 50), dtype="float32"), rng.random(64)
model = tf.keras.Sequential(
    [tf.keras.Input((50,)), tf.keras.layers.Dense(200, "relu"), tf.keras.layers.Dense(1)]
)
model.compile("adam", "mse")
losses = []
for turn in range(10):
    history = model.fit(x, y, epochs=1, batch_size=16, verbose=0)
    losses += history.history["loss"]
    if sys.argv[1] == "evaluates":
        losses.append(model.evaluate(x, y, verbose=0))
    if os.path.exists("look") and turn == 2:
        try:
            Path("looked").write_text(str(model.get_weights()))
        except Exception:
            Path("caught").touch()
np.savez("result.npz", *model.get_weights(), losses=losses)
