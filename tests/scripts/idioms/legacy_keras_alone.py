"""Legacy Keras by its own name: TensorFlow then imports Keras 3 beside it."""

import tf_keras as keras
from slow import data, pause

x, y = data()
model = keras.Sequential([keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)])
model.compile("adam", "mse")
slowly = keras.callbacks.LambdaCallback(on_batch_end=lambda batch, logs: pause())
model.fit(x, y, batch_size=16, epochs=4, verbose=2, callbacks=[slowly])
