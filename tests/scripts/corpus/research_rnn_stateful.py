"""Stateful LSTM with reset_states at the end of each epoch."""

import numpy as np
import tensorflow as tf

x = np.sin(np.arange(96 * 4) / 5).reshape(96, 4, 1).astype("float32")
y = x[:, -1, 0]
model = tf.keras.Sequential(
    [
        tf.keras.Input(batch_shape=(16, 4, 1)),
        tf.keras.layers.LSTM(4, stateful=True),
        tf.keras.layers.Dense(1),
    ]
)
model.compile("adam", "mse")


class Reset(tf.keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        for layer in self.model.layers:
            if hasattr(layer, "reset_states"):
                layer.reset_states()


model.fit(x, y, epochs=4, batch_size=16, shuffle=False, callbacks=[Reset()])
np.savez("result.npz", *model.get_weights())
