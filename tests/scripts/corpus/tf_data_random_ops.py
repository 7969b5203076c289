"""Pipelines with rejection_resample, sample_from_datasets and Dataset.random."""

import numpy as np
import tensorflow as tf

rng = np.random.default_rng(56)
x, y = rng.random((120, 6)).astype("float32"), (rng.random(120) < 0.2).astype("int32")
base = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(120)
balanced = base.rejection_resample(lambda x, y: y, target_dist=[0.5, 0.5]).map(lambda _, xy: xy)
positive = base.filter(lambda x, y: y > 0).repeat()
mixed = tf.data.Dataset.sample_from_datasets([balanced.repeat(), positive], [0.8, 0.2])
noise = tf.data.Dataset.random().map(lambda r: tf.cast(r % 100, tf.float32) / 1000)
train = tf.data.Dataset.zip((mixed, noise)).map(lambda xy, n: (xy[0] + n, xy[1])).batch(16)
model = tf.keras.Sequential([tf.keras.layers.Dense(8, "relu"), tf.keras.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(train, steps_per_epoch=6, epochs=4)
np.savez("result.npz", *model.get_weights())
