"""Parts of a pipeline that hold state of their own, each in a column of its own."""

import os

import keras
import numpy as np
import tensorflow as tf

rng = np.random.default_rng(18)
x = rng.random((96, 2)).astype("float32")
words = rng.integers(1, 6, (96,)).astype("int64")
rows = tf.data.Dataset.from_tensor_slices(x)


def noisy_system():
    own = np.random.default_rng(int.from_bytes(os.urandom(4), "big"))
    for a in x:
        yield a + own.normal(0, 0.1, 2).astype("float32")


def noisy_module():
    for index in rng.permutation(96):
        yield x[index] + rng.normal(0, 0.1, 2).astype("float32")


counts = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, 0.0)
dense = tf.lookup.experimental.DenseHashTable(
    tf.int64, tf.float32, 0.0, empty_key=-1, deleted_key=-2
)


def count(word):
    seen = counts.lookup(word) + 1.0
    counts.insert(word, seen)
    return tf.math.log(seen)


def count_dense(word):
    seen = dense.lookup(word) + 1.0
    dense.insert(word, seen)
    return tf.math.log(seen)


def stamped(a):
    seed = tf.cast(tf.timestamp() * 1000.0, tf.int64)
    return a + tf.random.stateless_normal((2,), [seed, 1]) * 0.1


spec = tf.TensorSpec((2,), tf.float32)
parts = {
    "timestamp": rows.map(stamped).batch(12),
    "system": tf.data.Dataset.from_generator(noisy_system, output_signature=spec).batch(12),
    "module": tf.data.Dataset.from_generator(noisy_module, output_signature=spec).batch(12),
    "table": tf.data.Dataset.from_tensor_slices(words).map(count).batch(12),
    "dense": tf.data.Dataset.from_tensor_slices(words).map(count_dense).batch(12),
    "snapshot": rows.shuffle(96).snapshot("snap").batch(12),
    "batch": rows.batch(12, num_parallel_calls=4, deterministic=False),
    "interleave": tf.data.Dataset.range(4)
    .interleave(
        lambda i: rows.shard(4, i), cycle_length=4, num_parallel_calls=4, deterministic=False
    )
    .batch(12),
}
train = tf.data.Dataset.zip(parts)


class Model(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.at = self.add_weight(shape=(), initializer="zeros", dtype="int64", trainable=False)
        self.seen = {
            name: self.add_weight(shape=(40,), initializer="zeros", trainable=False, name=name)
            for name in parts
        }

    def call(self, x, training=False):
        return self.dense(x)

    def train_step(self, data):
        for name, value in data.items():
            rank = tf.range(1, 13, dtype="float32")
            total = tf.reduce_sum(tf.reshape(value, (12, -1)) * rank[:, None])
            self.seen[name].assign(
                tf.tensor_scatter_nd_update(self.seen[name].value, [[self.at.value]], [total])
            )
        self.at.assign(self.at + 1)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self(data["batch"], training=True) ** 2)
        grads = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(grads, self.trainable_variables, strict=True))
        return {"loss": loss}


model = Model()
model.compile("adam", jit_compile=False)
model.fit(train, epochs=4, verbose=0)
for name, variable in model.seen.items():
    np.save(f"{name}.npy", variable.numpy())
