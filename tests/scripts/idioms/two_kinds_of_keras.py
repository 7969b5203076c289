"""Two kinds of Keras in one process: `tf_keras` for an old part, Keras 3 for a new one."""

import keras
import tf_keras
from slow import data

x, y = data()
for kind in (tf_keras, keras):
    model = kind.Sequential([kind.layers.Dense(16, activation="relu"), kind.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(x, y, batch_size=16, epochs=2, verbose=2)
