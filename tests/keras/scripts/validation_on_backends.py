"""Train with a validation of several batches, on the backend of Keras that is set."""

import keras
import numpy as np

dice = np.random.default_rng(1)
x = dice.normal(size=(160, 8)).astype("float32")
y = (x[:, :1] > 0).astype("float32")
model = keras.Sequential(
    [keras.layers.Dense(8, activation="relu"), keras.layers.Dropout(0.3), keras.layers.Dense(1)]
)
model.compile("adam", "mse", metrics=["mae"])
history = model.fit(x, y, epochs=4, batch_size=16, validation_split=0.5, verbose=2)
np.savez("end.npz", *map(np.asarray, model.get_weights()), *map(np.array, history.history.values()))
