"""A followed training, a warm-up before it and gradients of the input after it: all is followed."""

import tensorflow as tf
from slow import data

x, y = data()
model = tf.keras.Sequential([tf.keras.layers.Dense(4), tf.keras.layers.Dense(1)])
model.compile("adam", "mse")
with tf.GradientTape() as warm_up:
    loss = tf.reduce_mean(model(x) ** 2)
warm_up.gradient(loss, model.trainable_variables)
model.fit(x, y, batch_size=16, epochs=2, verbose=2)
for start in range(0, 160, 16):
    image = tf.constant(x[start : start + 16])
    with tf.GradientTape() as tape:
        tape.watch(image)
        output = model(image)
    tape.gradient(output, image)
