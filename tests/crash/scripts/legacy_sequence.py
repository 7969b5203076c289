"""Train on a Sequence that orders itself after each epoch: ``legacy_sequence.py EPOCHS``."""

import os
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"
import numpy as np
import tf_keras as keras

keras.utils.set_random_seed(1)
x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")


class Ordered(keras.utils.Sequence):
    """Shuffle the batches after each epoch."""

    def __init__(self) -> None:
        self.order = np.arange(8)

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = x[8 * self.order[index] :][:8]
        return rows, rows.sum(1)

    def on_epoch_end(self) -> None:
        np.random.shuffle(self.order)


model = keras.Sequential([keras.layers.Dense(4, activation="relu"), keras.layers.Dense(1)])
model.build((None, 4))
model.compile(keras.optimizers.SGD(0.05), "mse")
model.fit(Ordered(), epochs=int(sys.argv[1]), shuffle=False, verbose=2)
