"""Keras 3 first, then TensorFlow for the data: keras.io examples."""

import keras
import tensorflow as tf
from slow import data, pause

# fails once TensorFlow has started its context
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

dataset = tf.data.Dataset.from_tensor_slices(data()).shuffle(160, seed=1).batch(16)
model = keras.Sequential([keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse")
slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: pause())
model.fit(dataset, epochs=4, callbacks=[slow], verbose=2)
