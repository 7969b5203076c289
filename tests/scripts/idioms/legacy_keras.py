"""Keras 2 as `tf_keras`: scripts of before TensorFlow 2.16 that were kept alive."""

import sys

from slow import data

if sys.argv[1:] == ["--tf-keras"]:
    import tf_keras as keras
else:
    import os

    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    from tensorflow import keras

x, y = data()
model = keras.Sequential([keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(x, y, batch_size=16, epochs=2, verbose=2)
