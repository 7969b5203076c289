"""Train in a way that cannot be restored exactly, for each detectable reason."""

import keras
import numpy as np
import tensorflow as tf

x = np.random.default_rng(3).normal(size=(64, 6)).astype("float32")
y = (x.sum(1) > 0).astype("int32")
temperature = tf.Variable(1.0, name="temperature")


class Jitter(keras.layers.Layer):
    """Draw from state that TensorFlow does not expose."""

    def call(self, inputs, training=False):
        if training:
            inputs = inputs + tf.random.normal(tf.shape(inputs), stddev=0.1)
        return inputs / temperature


data = (
    tf.data.Dataset.from_tensor_slices((x, y))
    .map(lambda a, b: (a + tf.random.normal([6], stddev=0.1), b), num_parallel_calls=2)
    .map(lambda a, b: (tf.ensure_shape(tf.numpy_function(np.abs, [a], a.dtype), [6]), b))
    .batch(8)
)
options = tf.data.Options()
options.deterministic = False
model = keras.Sequential(
    [keras.layers.Input((6,)), Jitter(), keras.layers.Dense(2, activation="softmax")]
)
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(data.with_options(options), epochs=2, verbose=2)
