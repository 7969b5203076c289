"""Environment variables are set before TensorFlow is loaded: almost every server script."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import tensorflow as tf

tf.random.set_seed(3)
tf.get_logger().setLevel("ERROR")

from slow import data, pause  # noqa: E402

x, y = data()
model = tf.keras.Sequential([tf.keras.layers.Dense(16), tf.keras.layers.Dense(1)])
model.compile("adam", "mse")
slow = tf.keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: pause())
model.fit(x, y, batch_size=16, epochs=4, callbacks=[slow], verbose=2)
