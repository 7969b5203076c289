"""A callback counts visits in a large table, one item a batch, and sets the rate by them."""

import keras
import numpy as np

rng = np.random.default_rng(21)
x, y = rng.random((96, 4)).astype("float32"), rng.random((96, 1)).astype("float32")


class Visits(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.counts = np.zeros((2000, 2000), "float32")
        self.place = 123457

    def on_train_batch_end(self, batch, logs=None):
        self.place = (self.place * 31 + 7 + int(logs["loss"] * 1e6) % 5) % self.counts.size
        self.counts.flat[self.place] += 1
        self.model.optimizer.learning_rate = 0.01 / (1 + float(self.counts.sum()) / 50)


keras.utils.set_random_seed(21)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
model.compile(keras.optimizers.SGD(0.01), "mse")
visits = Visits()
model.fit(x, y, batch_size=12, epochs=5, verbose=0, callbacks=[visits])
np.savez("weights.npz", *model.get_weights())
np.save("visits.npy", np.argwhere(visits.counts))
