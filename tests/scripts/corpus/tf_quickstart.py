"""tf.keras.Sequential on arrays, as TensorFlow's quickstart for beginners."""

import numpy as np
import tensorflow as tf

mnist = tf.random.Generator.from_seed(1)
x_train = mnist.uniform((96, 8, 8)).numpy()
y_train = (x_train.sum((1, 2)) > 32).astype("int32")

model = tf.keras.models.Sequential(
    [
        tf.keras.layers.Flatten(input_shape=(8, 8)),
        tf.keras.layers.Dense(16, activation="relu"),
        tf.keras.layers.Dropout(0.2),
        tf.keras.layers.Dense(2),
    ]
)
loss_fn = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(optimizer="adam", loss=loss_fn, metrics=["accuracy"])
model.fit(x_train, y_train, epochs=5, batch_size=16)
model.evaluate(x_train, y_train, verbose=2)
model.save_weights("final.weights.h5")
np.savez("result.npz", *model.get_weights())
