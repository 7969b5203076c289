"""Output folder named by the clock, best weights loaded from it at the end."""

import os
from datetime import datetime

import numpy as np
import tensorflow as tf

run_dir = os.path.join("runs", datetime.now().strftime("%Y%m%d-%H%M%S-%f"))
os.makedirs(run_dir)
rng = np.random.default_rng(41)
x, y = rng.random((96, 8)).astype("float32"), rng.random(96)
model = tf.keras.Sequential([tf.keras.layers.Dense(8, "relu"), tf.keras.layers.Dense(1)])
model.compile("adam", "mse")
best = os.path.join(run_dir, "best.weights.h5")
checkpoint = tf.keras.callbacks.ModelCheckpoint(
    best, monitor="val_loss", save_best_only=True, save_weights_only=True
)
model.fit(x, y, validation_data=(x[:30], y[:30]), epochs=4, batch_size=16, callbacks=[checkpoint])
model.load_weights(best)
np.savez("result.npz", *model.get_weights())
