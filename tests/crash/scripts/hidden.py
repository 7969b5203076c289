"""Pipelines whose iterators share hidden state: shuffles, caches, variables."""

import sys

import keras
import numpy as np
import tensorflow as tf

NAME = sys.argv[1]
rng = np.random.default_rng(3)
x = rng.normal(size=(160, 6)).astype("float32")
y = (x.sum(1) > 0).astype("float32")


def rows(first=0, end=160):
    return tf.data.Dataset.from_tensor_slices((x[first:end], y[first:end]))


def model():
    made = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(8), keras.layers.Dropout(0.3), keras.layers.Dense(1)]
    )
    made.compile("adam", "mse")
    return made


def shuffles():
    """Draw below repeat and concatenate, from a validation, and from two kinds of callbacks."""
    first, second = rows(0, 80).shuffle(80), rows(80).shuffle(80)
    data = first.repeat(2).concatenate(second).batch(24)
    check = first.repeat().batch(8)

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            batch, _ = next(iter(second.batch(4)))
            rate = 1e-3 * (1 + abs(float(tf.reduce_mean(batch))))
            self.model.optimizer.learning_rate.assign(rate)
            self.model.evaluate(second.batch(8), steps=2, verbose=0)

    made = model()
    made.fit(data, epochs=4, verbose=0, validation_data=rows().shuffle(160).repeat().batch(8),
             validation_steps=3, callbacks=[Look()])  # fmt: skip
    made.evaluate(check, steps=2, verbose=0)
    return [made]


def caches():
    """Fit two models on caches behind a shuffle, a layer and a counter."""
    count = tf.Variable(0.0)
    noise = keras.layers.GaussianNoise(0.3)

    def prepare(features, label):
        count.assign_add(1.0)
        return noise(features, training=True) * (1 + 0.01 * count), label

    data = rows().shuffle(160).take(120).batch(12).map(prepare).cache().shuffle(10)
    check = rows().shuffle(160).take(30).cache().batch(10)
    made = [model(), model()]
    for one in made:
        one.fit(data, epochs=3, verbose=0, validation_data=check)
    return made


def clean():
    """Cache and read in parallel with nothing random before: no caveat, and no more passes."""
    data = rows().map(lambda a, b: (a * 2, b), num_parallel_calls=4).cache()
    made = model()
    made.fit(data.shuffle(160).batch(16).prefetch(2), epochs=3, verbose=0)
    return [made]


def unordered():
    """Return results as they become ready."""
    data = rows().map(lambda a, b: (a, b), num_parallel_calls=4, deterministic=False)
    made = model()
    made.fit(data.batch(16), epochs=3, verbose=0)
    return [made]


if __name__ == "__main__":
    done = globals()[NAME]()
    np.savez("result.npz", *[weight for one in done for weight in one.get_weights()])
