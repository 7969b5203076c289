"""The script looks for Keras before it imports it: optional dependencies."""

import importlib
import importlib.util

if not all(importlib.util.find_spec(name) for name in ("keras", "tensorflow", "numpy")):
    raise SystemExit("install keras")
try:
    keras = importlib.import_module("keras")
except (ImportError, AttributeError):
    keras = None
from slow import data, pause

x, y = data()
model = keras.Sequential([keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)])
model.compile("adam", "mse")
slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: pause())
model.fit(x, y, batch_size=16, epochs=4, callbacks=[slow], verbose=2)
