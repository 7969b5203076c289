"""Train a network whose checkpoint of 20 MiB and more is digested in chunks. Knows no rekindle."""

import tensorflow as tf

tf.keras.utils.set_random_seed(3)
x = tf.random.normal((64, 1200))
y = tf.cast(tf.reduce_sum(x, axis=1) > 0, tf.int32)
model = tf.keras.Sequential(
    [
        tf.keras.layers.Input((1200,)),
        tf.keras.layers.Dense(1200, activation="relu"),
        tf.keras.layers.Dense(2, activation="softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(x.numpy(), y.numpy(), batch_size=8, epochs=3, verbose=2)
model.save_weights("end.weights.h5")
