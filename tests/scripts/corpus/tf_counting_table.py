"""A layer that counts words in a mutable hash table while it trains, as in recommender code."""

import keras
import numpy as np
import tensorflow as tf

rng = np.random.default_rng(62)
words = np.array(["red", "blue", "green", "black", "white"])
x = tf.constant(words[rng.integers(0, 5, (120, 4))])
y = rng.random(120).astype("float32")


class Frequencies(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, 0.0)

    def call(self, inputs, training=False):
        seen = tf.reshape(self.table.lookup(inputs), [-1, 4])
        if training:
            flat, _, counts = tf.unique_with_counts(tf.reshape(inputs, [-1]))
            before = self.table.lookup(flat)
            self.table.insert(flat, before + tf.cast(counts, tf.float32))
        return tf.math.log1p(seen)

    def compute_output_spec(self, inputs, training=False):
        return keras.KerasTensor((inputs.shape[0], 4), "float32")


inputs = keras.Input((4,), dtype="string")
h = keras.layers.Dense(8, activation="relu")(Frequencies()(inputs))
model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dropout(0.2)(h)))
model.compile("adam", "mse")
history = model.fit(tf.data.Dataset.from_tensor_slices((x, y)).batch(12), epochs=3, verbose=0)
np.savez("result.npz", *model.get_weights(), *history.history["loss"])
