"""A script that resumes by itself: the newest file decides initial_epoch."""

import glob
import os
import re

import numpy as np
import tensorflow as tf

os.makedirs("checkpoints", exist_ok=True)
rng = np.random.default_rng(43)
x, y = rng.random((96, 8)).astype("float32"), rng.random(96)
found = sorted(glob.glob("checkpoints/model-*.keras"))
if found:
    model = tf.keras.models.load_model(found[-1])
    initial_epoch = int(re.search(r"model-(\d+)", found[-1]).group(1))
else:
    model = tf.keras.Sequential([tf.keras.layers.Dense(8, "relu"), tf.keras.layers.Dense(1)])
    model.compile("adam", "mse")
    initial_epoch = 0
callbacks = [tf.keras.callbacks.ModelCheckpoint("checkpoints/model-{epoch:02d}.keras")]
model.fit(x, y, epochs=6, initial_epoch=initial_epoch, batch_size=16, callbacks=callbacks)
np.savez("result.npz", *model.get_weights())
