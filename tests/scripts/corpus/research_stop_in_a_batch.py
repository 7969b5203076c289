"""A callback ends the training within an epoch once a budget of steps is used, then validates."""

import keras
import numpy as np

rng = np.random.default_rng(63)
x, y = rng.random((150, 6)).astype("float32"), rng.integers(0, 2, 150)


class Budget(keras.callbacks.Callback):
    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            self.model.stop_training = True


keras.utils.set_random_seed(4)
model = keras.Sequential([keras.layers.Dense(8, "relu"), keras.layers.Dense(1, "sigmoid")])
model.compile("adam", "binary_crossentropy")
history = model.fit(
    x, y, batch_size=10, epochs=9, callbacks=[Budget(34)], validation_split=0.2, verbose=0
)
np.savez("result.npz", *model.get_weights(), *history.history["val_loss"])
