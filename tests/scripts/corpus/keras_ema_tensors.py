"""EMA callback whose shadow is None until the first batch, swapped in for each validation."""

import keras
import numpy as np
from keras import ops


class EMA(keras.callbacks.Callback):
    def __init__(self, update_every=2, beta=0.9):
        super().__init__()
        self.update_every, self.beta = update_every, beta
        self._shadow = None
        self._backup = None
        self._step = 0

    def on_train_batch_end(self, batch, logs=None):
        self._step += 1
        if self._step % self.update_every:
            return
        now = [ops.convert_to_tensor(v) for v in self.model.trainable_variables]
        if self._shadow is None:
            self._shadow = now
        pairs = zip(self._shadow, now)
        self._shadow = [self.beta * mine + (1 - self.beta) * new for mine, new in pairs]

    def on_test_begin(self, logs=None):
        if self._shadow is not None:
            self._backup = [ops.copy(v) for v in self.model.trainable_variables]
            self._put(self._shadow)

    def on_test_end(self, logs=None):
        if self._backup is not None:
            self._put(self._backup)
            self._backup = None

    def _put(self, values):
        for variable, value in zip(self.model.trainable_variables, values):
            variable.assign(value)


rng = np.random.default_rng(82)
x, y = rng.random((112, 8)).astype("float32"), rng.random(112)
model = keras.Sequential(
    [
        keras.Input((8,)),
        keras.layers.Dense(8, "relu"),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(1),
    ]
)
model.compile("adam", "mse")
ema = EMA()
history = model.fit(
    x[:96], y[:96], epochs=5, batch_size=16, validation_data=(x[96:], y[96:]), callbacks=[ema]
)
shadow = [np.asarray(value) for value in ema._shadow]
np.savez("result.npz", *model.get_weights(), *shadow, history.history["val_loss"])
