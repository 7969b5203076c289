"""A loop that takes from iterators of its own: a repeated dataset, a generator, a cycle."""

import itertools

import keras
import numpy as np
import tensorflow as tf

from rekindle.jobs import resumable

keras.utils.set_random_seed(11)
rng = np.random.default_rng(7)
x, y = rng.random((96, 6)).astype("float32"), rng.random((96, 1)).astype("float32")


def noise(seed):
    own = np.random.default_rng(seed)
    while True:
        yield own.normal(0, 0.05, (12, 6)).astype("float32")


def main():
    rows = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(96).repeat().batch(12)
    batches = iter(rows)
    noises = noise(3)
    scales = itertools.cycle([0.5, 1.0, 1.5])
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    losses = []
    loop = resumable(model=model)
    for _ in loop.epochs(5):
        for step, _ in enumerate(loop.batches(range(8))):
            a, b = next(batches)
            loss = float(model.train_on_batch(a + next(noises) * next(scales), b))
            if step % 3 == 0:
                losses.append([step, loss])
    np.savez("weights.npz", *model.get_weights())
    np.save("losses.npy", losses)


main()
