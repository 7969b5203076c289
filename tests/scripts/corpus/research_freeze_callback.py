"""A callback that freezes a layer and changes a plain attribute of it during training."""

import keras
import numpy as np


class NoisyDense(keras.layers.Dense):
    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.scale = 1.0

    def call(self, inputs):
        return super().call(inputs) * self.scale


class Freeze(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            self.model.layers[0].trainable = False
            self.model.layers[0].scale = 0.5
            self.model.make_train_function(force=True)


rng = np.random.default_rng(48)
x, y = rng.random((96, 8)).astype("float32"), rng.random(96)
first = NoisyDense(8, activation="relu")
model = keras.Sequential([keras.Input((8,)), first, keras.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(x, y, epochs=5, batch_size=16, callbacks=[Freeze()])
np.savez("result.npz", *model.get_weights())
