"""Train with a kind of optimizer of legacy Keras: ``legacy_rates.py KIND RATE MOMENTUM``."""

import json
import os
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"
import numpy as np
import tf_keras as keras

keras.utils.set_random_seed(1)
x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
model = keras.Sequential([keras.layers.Dense(4, activation="relu"), keras.layers.Dense(1)])
model.build((None, 4))
kinds = {"new": keras.optimizers.SGD, "old": keras.optimizers.legacy.SGD}
model.compile(kinds[sys.argv[1]](float(sys.argv[2]), float(sys.argv[3])), "mse")
seen = []


class Seen(keras.callbacks.Callback):
    """Note rate and momentum of each epoch that this process trains."""

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        optimizer = self.model.optimizer
        both = (optimizer.learning_rate, optimizer.momentum)
        seen.append([epoch, *(round(float(keras.backend.get_value(one)), 4) for one in both)])
        with open("seen.json", "w") as file:
            json.dump(seen, file)


model.fit(x, x.sum(1), epochs=3, batch_size=8, verbose=2, callbacks=[Seen()])
