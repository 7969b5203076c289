"""Run one script with unusual weights: ``odd_weights.py NAME``. Imports nothing of rekindle."""

import json
import os
import random
import sys

import keras
import numpy as np
import tensorflow as tf

layers = keras.layers
rng = np.random.default_rng(3)
X = rng.normal(size=(160, 6)).astype("float32")
Y = (X.sum(1) > 0).astype("float32")


def train(*before, x=X, **more):
    model = keras.Sequential(
        [*before, layers.Dense(8, "relu"), layers.Dropout(0.3), layers.Dense(1, "sigmoid")]
    )
    model.compile("adam", "binary_crossentropy")
    history = model.fit(x, Y, batch_size=16, epochs=4, verbose=2, **more)
    np.savez("weights.npz", *model.get_weights())
    with open("history.json", "w") as file:
        json.dump(history.history, file)
    return model


class Odd(layers.Layer):
    """Variables of types that Keras does not make, which each step changes."""

    def __init__(self):
        super().__init__()
        self.flag = tf.Variable([True, False], trainable=False)
        self.bytes = tf.Variable(tf.constant([1, 2], tf.uint8), trainable=False)
        self.text = tf.Variable(["a", "b"], trainable=False)
        self.wave = tf.Variable(tf.constant([1 + 2j], tf.complex128), trainable=False)
        self.half = tf.Variable(tf.constant([1.0], tf.bfloat16), trainable=False)
        self.longer = tf.Variable(tf.zeros([0]), shape=[None], trainable=False)
        self._hidden = tf.Variable(0.0, trainable=False)
        self.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, 0.0)
        self.dense = tf.lookup.experimental.DenseHashTable(tf.int64, tf.float32, 0.0, -1, -2)

    def call(self, x, training=False):
        if training:
            self.flag.assign(tf.logical_not(self.flag))
            self.bytes.assign_add([1, 2])
            self.text.assign(tf.strings.join([self.text, ["x", "y"]]))
            self.wave.assign(self.wave * tf.constant([0.9 + 0.1j], tf.complex128))
            self.half.assign_add(tf.constant([0.5], tf.bfloat16))
            self.longer.assign(tf.concat([self.longer, [1.0]], 0))
            self._hidden.assign_add(1.0)
            step = tf.reshape(self._hidden, [1])
            self.table.insert(tf.strings.as_string(tf.cast(step, tf.int64) % 7), step)
            self.dense.insert(tf.cast(step, tf.int64) % 5, step)
        more = tf.reduce_sum(self.longer) + self._hidden + tf.cast(self.half[0], tf.float32)
        more += tf.reduce_sum(self.table.lookup(tf.constant(["1", "2", "3"])))
        more += tf.reduce_sum(self.dense.lookup(tf.constant([1, 2], tf.int64)))
        more += tf.cast(
            tf.strings.length(self.text[0]) + tf.cast(self.bytes[1], tf.int32), "float32"
        )
        wave = tf.cast(tf.math.real(self.wave), tf.float32)
        return tf.reshape(x * wave * tf.cast(tf.size(self.flag), tf.float32) + 1e-4 * more, [-1, 6])


def odd_types():
    odd = Odd()
    train(layers.Input((6,)), odd)
    with open("odd.txt", "w") as file:
        print(odd.flag.numpy(), odd.bytes.numpy(), odd.text.numpy(), odd.wave.numpy(), file=file)


class Masked(layers.Layer):
    """A mask of -inf, a buffer of NaN, and a minimum that begins at infinity."""

    def build(self, shape):
        def weight(values):
            return self.add_weight(
                shape=(len(values),),
                initializer=lambda shape, dtype: tf.constant(values, dtype),
                trainable=False,
            )

        self.mask = weight([-np.inf, 0, 0, 0, 0, 0])
        self.seen = weight([np.nan] * 30)
        self.lowest = weight([np.inf])

    def call(self, x, training=False):
        if training:
            low = tf.reduce_min(x)
            self.seen.assign(tf.concat([self.seen[1:], [low]], 0))
            self.lowest.assign(tf.minimum(self.lowest, low))
        known = tf.where(tf.math.is_nan(self.seen), 0.0, self.seen)
        return x * keras.ops.softmax(self.mask) + 0.01 * tf.reduce_sum(known)


def infinite_by_design():
    class Move(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            mask = np.zeros(6, "float32")
            mask[:epoch] = -np.inf
            self.model.layers[0].mask.assign(mask)

    train(layers.Input((6,)), Masked(), callbacks=[Move()])


def becomes_nan():
    class Spoil(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations.numpy() == 17:
                kernel = self.model.layers[1].kernel
                kernel.assign(kernel * np.nan)

    train(layers.Input((6,)), Masked(), callbacks=[Spoil()])


def stop_in_a_batch():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations.numpy() == 23:
                self.model.stop_training = True

    train(
        layers.Input((6,)),
        callbacks=[Stop()],
        validation_data=(X[:80], Y[:80]),
        validation_batch_size=8,
    )


def features_on_disk():
    """A relaunch builds one model less, so that Keras numbers the names of the other lower."""
    if not os.path.exists("features.npy"):
        extractor = keras.Sequential(
            [layers.Input((6,)), layers.Dense(6), layers.Dropout(0.1), layers.Dense(6)]
        )
        np.save("features.npy", extractor.predict(X, verbose=0))
    a = layers.Input((6,))
    joined = layers.Dense(6)(a) + layers.Dense(6)(a)
    inner = keras.Model(a, layers.Bidirectional(layers.LSTM(3))(layers.Reshape((3, 2))(joined)))
    noise = layers.GaussianNoise(0.2)
    data = tf.data.Dataset.from_tensor_slices((np.load("features.npy"), Y)).batch(16)
    data = data.map(lambda x, y: (noise(x, training=True), y))
    b = layers.Input((6,))
    model = keras.Model(b, layers.Dense(1, "sigmoid")(layers.Dropout(0.3)(inner(b))))
    model.compile("adam", "binary_crossentropy")
    history = model.fit(data, epochs=4, verbose=2)
    np.savez("weights.npz", *model.get_weights())
    with open("history.json", "w") as file:
        json.dump(history.history, file)


def draws_while_traced():
    """The noise is drawn once in each trace; one model after the other."""

    class Noise(layers.Layer):
        def call(self, x, training=False):
            return x + np.float32(np.random.normal() + random.random()) if training else x

    model = train(layers.Input((6,)), Noise())
    model.fit(X, Y, batch_size=16, epochs=2, verbose=2)
    train(layers.Input((6,)), Noise(), layers.Dense(6), validation_data=(X[:40], Y[:40]))
    np.savez("first.npz", *model.get_weights(), np.random.normal(), random.random())


def other_vocabulary():
    words = ["x", "y"] if os.path.exists("seen") else ["a", "b"]
    with open("seen", "w"):
        pass
    lookup = layers.StringLookup()
    lookup.adapt(words)
    train(
        layers.Input((1,), dtype="string"),
        lookup,
        layers.Embedding(9, 4),
        layers.Flatten(),
        x=tf.constant([["a"], ["x"]] * 80),
    )


def other_names():
    names = ["layer_1", "layer_2"]
    if os.path.exists("seen"):
        names.reverse()
    with open("seen", "w"):
        pass
    train(layers.Input((6,)), *[layers.Dense(6, name=name) for name in names])


if __name__ == "__main__":
    globals()[sys.argv[1]]()
