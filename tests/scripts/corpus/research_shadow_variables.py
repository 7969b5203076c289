"""Shadow weights in a list of variables, and others made in the first batch, as EMA trackers."""

import numpy as np
import tensorflow as tf


class Shadow(tf.keras.callbacks.Callback):
    def __init__(self, model, decay=0.9):
        super().__init__()
        self.decay = decay
        self.shadow = [tf.Variable(w, trainable=False, dtype=w.dtype) for w in model.weights]
        self.slow = {}

    def on_train_batch_end(self, batch, logs=None):
        for mine, weight in zip(self.shadow, self.model.weights):
            mine.assign(self.decay * mine + (1 - self.decay) * weight)
            if weight.path not in self.slow:
                self.slow[weight.path] = tf.Variable(weight, trainable=False)
            self.slow[weight.path].assign(0.99 * self.slow[weight.path] + 0.01 * weight)


rng = np.random.default_rng(81)
x, y = rng.random((96, 8)).astype("float32"), rng.random(96)
model = tf.keras.Sequential(
    [
        tf.keras.Input((8,)),
        tf.keras.layers.Dense(8, "relu"),
        tf.keras.layers.Dropout(0.3),
        tf.keras.layers.Dense(1),
    ]
)
model.compile("adam", "mse")
shadow = Shadow(model)
model.fit(x, y, epochs=4, batch_size=16, callbacks=[shadow])
slow = [variable.numpy() for variable in shadow.slow.values()]
np.savez("result.npz", *model.get_weights(), *[v.numpy() for v in shadow.shadow], *slow)
