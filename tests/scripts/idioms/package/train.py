"""Run as a module, with a relative import: installed projects."""

import tensorflow as tf
from slow import data, pause

from .network import network

x, y = data()
slow = tf.keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: pause())
network().fit(x, y, batch_size=16, epochs=4, callbacks=[slow], verbose=2)
