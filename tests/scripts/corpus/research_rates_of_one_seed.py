"""Learning rates and optimizers compared from one seed: each training begins with equal weights."""

import keras
import numpy as np

rng = np.random.default_rng(92)
x = rng.normal(size=(48, 5)).astype("float32")
y = (x @ rng.normal(size=5)).astype("float32")


def train(optimizer):
    keras.utils.set_random_seed(42)
    model = keras.Sequential(
        [keras.layers.Dense(6, activation="tanh"), keras.layers.Dropout(0.2), keras.layers.Dense(1)]
    )
    model.compile(optimizer, "mse")
    history = model.fit(x, y, epochs=2, batch_size=16, verbose=0)
    return [np.array(history.history["loss"]), *model.get_weights()]


found = []
for rate in (0.1, 0.01):
    found += train(keras.optimizers.Adam(learning_rate=rate))
for optimizer in (keras.optimizers.Adam(0.003), keras.optimizers.Adam(0.0003)):
    found += train(optimizer)
found += train("adam")
np.savez("result.npz", *found)
