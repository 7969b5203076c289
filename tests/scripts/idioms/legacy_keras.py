"""Legacy Keras by the variable that scripts of before TensorFlow 2.16 set to be kept alive."""

import os

from slow import data, pause

os.environ["TF_USE_LEGACY_KERAS"] = "1"
from tensorflow import keras

x, y = data()
model = keras.Sequential([keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)])
model.compile("adam", "mse")
slowly = keras.callbacks.LambdaCallback(on_batch_end=lambda batch, logs: pause())
model.fit(x, y, batch_size=16, epochs=4, verbose=2, callbacks=[slowly])
