"""Run the same training as a ``fit`` or as a loop: ``parity.py fit|loop``.

A layer has a counter in a plain ``tf.Variable``, which Keras does not list.
"""

import sys

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rekindle.jobs import resumable

keras.utils.set_random_seed(5)
dice = np.random.default_rng(2)
# the last of 12 batches is smaller than the others
X = dice.normal(size=(186, 10)).astype("float32")
Y = (X[:, :2].sum(1) > 0).astype("int32")
EPOCHS, BATCH = 6, 16
layers = keras.layers


class Warmth(layers.Layer):
    """Add noise that decreases with the number of calls, as schedules in layers do."""

    def __init__(self):
        super().__init__()
        self.calls = tf.Variable(0.0, trainable=False)
        self.seeds = keras.random.SeedGenerator(4)

    def call(self, x, training=False):
        if training:
            self.calls.assign_add(1.0)
            x = x + keras.random.normal(tf.shape(x), seed=self.seeds) / (1.0 + self.calls)
        return x


model = keras.Sequential(
    [
        layers.Input((10,)),
        Warmth(),
        layers.Dense(12, activation="relu"),
        layers.BatchNormalization(),
        layers.Dropout(0.3),
        layers.Dense(2, activation="softmax"),
    ]
)
rate = float(sys.argv[2]) if len(sys.argv) > 2 else 2e-3
model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
losses = []
if sys.argv[1] == "fit":
    history = model.fit(X, Y, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0)
    losses = history.history["loss"]
else:
    loop = resumable(model=model, state={"losses": losses})
    for _epoch in loop.epochs(EPOCHS):
        model.reset_metrics()
        for x, y in loop.batches((X, Y), BATCH, shuffle=False):
            losses.append(float(model.train_on_batch(x, y)))
        loop.log(loss=losses[-1])
assert len(losses) == (EPOCHS if sys.argv[1] == "fit" else EPOCHS * 12)
arrays = [*model.variables, model.layers[0].calls, *model.optimizer.variables]
with open("end.npz", "wb") as file:
    file.writelines(np.asarray(array).tobytes() for array in arrays)
