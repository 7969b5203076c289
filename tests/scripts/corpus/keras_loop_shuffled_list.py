"""A list of shards that is shuffled in place each epoch, and a rate that decays before it."""

import random

import keras
import numpy as np

from rekindle.jobs import resumable

keras.utils.set_random_seed(7)
draw = np.random.default_rng(4)
shards = [
    (draw.random((10, 4)).astype("float32"), draw.random((10, 1)).astype("float32"))
    for _ in range(9)
]
names = list(range(9))
shuffler = random.Random(12)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(1)])
optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
model.compile(optimizer, "mse")
rate, order = 0.1, []
loop = resumable(model=model)
for epoch in loop.epochs(5):
    shuffler.shuffle(names)
    rate *= 0.9
    optimizer.learning_rate.assign(rate)
    for name in loop.batches(names):
        loss = float(model.train_on_batch(*shards[name]))
        order.append((epoch, name, loss, rate))
np.savez("end.npz", np.array(order), *model.get_weights())
