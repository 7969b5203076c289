"""Cyclic snapshots: one fit for each cycle of a falling rate, a copy of the model after each."""

import math

import keras
import numpy as np

rng = np.random.default_rng(31)
x, y = rng.random((96, 8)).astype("float32"), rng.random(96)
model = keras.Sequential(
    [keras.layers.Input((8,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)]
)
model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
members, epochs = [], 2
for cycle in range(4):
    schedule = keras.callbacks.LearningRateScheduler(
        lambda epoch: 0.05 * (1 + math.cos(math.pi * epoch / epochs)) / 2
    )
    model.fit(x, y, epochs=epochs, batch_size=16, callbacks=[schedule], verbose=0)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    members.append(copy)
    model.evaluate(x, y, verbose=0)
ensemble = np.mean([member.predict(x, verbose=0) for member in members], axis=0)
np.savez("result.npz", ensemble, *model.get_weights())
