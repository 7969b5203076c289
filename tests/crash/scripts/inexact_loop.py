"""Run a loop with state that cannot be restored exactly; each caveat must be reported."""

import types

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rekindle.jobs import resumable

keras.utils.set_random_seed(1)
x = np.random.default_rng(0).normal(size=(96, 4)).astype("float32")
data = tf.data.Dataset.from_tensor_slices(x).shuffle(96).cache().batch(16)
model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
optimizer = keras.optimizers.SGD(0.01)
optimizer.build(model.trainable_variables)
hidden = types.ModuleType("hidden")  # what a library holds is not followed
hidden.stray = tf.Variable(0.0, name="stray")
evaluated = tf.Variable(0.0, name="evaluated")


@tf.function
def step(batch):
    with tf.GradientTape() as tape:
        noisy = batch + tf.random.uniform(tf.shape(batch))
        loss = tf.reduce_mean(model(noisy) ** 2)
    hidden.stray.assign_add(1.0)
    optimizer.apply(tape.gradient(loss, model.trainable_variables))
    return loss


@tf.function
def evaluate(batch):
    evaluated.assign_add(tf.reduce_mean(model(batch)))


loop = resumable(model=model, optimizer=optimizer, every="2 steps")
data = loop.data(data)
for _epoch in loop.epochs(2):
    for batch in loop.batches(data):
        loss = step(batch)
    evaluate(x)
