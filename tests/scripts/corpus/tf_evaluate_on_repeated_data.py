"""A callback that evaluates on some batches of the repeated training data: named.

As in questions about the training accuracy at the end of an epoch: the evaluation draws another
order from the shuffle that the training data is read ahead from.
"""

import json

import numpy as np
import tensorflow as tf

rng = np.random.default_rng(64)
x, y = rng.random((50, 6)).astype("float32"), rng.integers(0, 2, 50).astype("float32")
train = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(50).repeat().batch(8)
found = []


class TrainingAccuracy(tf.keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        found.append([float(one) for one in self.model.evaluate(train, steps=3, verbose=0)])


model = tf.keras.Sequential([tf.keras.layers.Dense(8, "relu"), tf.keras.layers.Dense(1, "sigmoid")])
model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
model.fit(train, steps_per_epoch=6, epochs=5, verbose=0, callbacks=[TrainingAccuracy()])
np.savez("result.npz", *model.get_weights())
with open("found.json", "w") as file:
    json.dump(found, file)
