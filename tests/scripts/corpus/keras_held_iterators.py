"""Iterators of many kinds that callbacks and a model hold across epochs."""

import itertools

import keras
import numpy as np
import tensorflow as tf

rng = np.random.default_rng(5)
x, y = rng.random((96, 6)).astype("float32"), rng.random((96, 1)).astype("float32")
train = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(96).batch(12)
rows = tf.data.Dataset.from_tensor_slices(x)
numpy_rows = rows.shuffle(40).batch(4).repeat().as_numpy_iterator()
cycle = itertools.cycle(rows.shuffle(30).batch(8).take(3))
each_epoch = rows.shuffle(40).batch(8)


def noise(seed):
    own = np.random.default_rng(seed)
    while True:
        yield own.normal(0, 0.01, (6, 8)).astype("float32")


def windows():
    while True:
        for start in range(0, 96, 8):
            yield x[start : start + 8]


class Probe(keras.callbacks.Callback):
    def __init__(self, data):
        super().__init__()
        self.ahead = iter(data.shuffle(40).repeat().batch(8).prefetch(2))
        self.plain = iter(data.shuffle(40).repeat().batch(8))
        self.noise = noise(3)
        self.windows = windows()
        self.seen = {name: [] for name in "ahead plain numpy cycle noise windows begun".split()}

    def keep(self, name, value):
        self.seen[name].append(float(np.sum(value)))

    def on_epoch_begin(self, epoch, logs=None):
        self.begun = iter(each_epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.keep("ahead", next(self.ahead))
        self.keep("windows", next(self.windows))
        self.keep("noise", next(self.noise))

    def on_train_batch_end(self, batch, logs=None):
        self.keep("begun", next(self.begun)[0])
        if batch % 3 == 1:
            self.keep("ahead", next(self.ahead))
            self.keep("plain", next(self.plain))
        elif batch % 3 == 2:
            self.keep("numpy", next(numpy_rows))
            self.keep("cycle", next(cycle))


class Consistent(keras.Model):
    def __init__(self, unlabelled):
        super().__init__()
        self.net = keras.Sequential(
            [keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)]
        )
        self.unlabelled = iter(unlabelled)

    def call(self, x, training=False):
        return self.net(x, training=training)

    def train_step(self, data):
        x, y = data
        extra = next(self.unlabelled)
        with tf.GradientTape() as tape:
            p = self(x, training=True)
            change = self(extra) - self(extra * 1.1)
            loss = tf.reduce_mean((p - y) ** 2) + 0.1 * tf.reduce_mean(change**2)
        grads = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(grads, self.trainable_variables, strict=True))
        return {"loss": loss}


model = Consistent(rows.shuffle(60).repeat().batch(8))
model.compile("adam", jit_compile=False)
probe = Probe(rows)
model.fit(train, epochs=5, verbose=0, callbacks=[probe])
np.savez("weights.npz", *model.get_weights())
for name, seen in probe.seen.items():
    np.save(f"{name}.npy", seen)
