"""A graph and a session of TensorFlow 1, kept alive by `compat.v1`."""

import tensorflow.compat.v1 as tf
from slow import data

tf.disable_v2_behavior()
x, y = data()
inputs = tf.placeholder(tf.float32, [None, 8])
target = tf.placeholder(tf.float32, [None, 1])
weights = tf.get_variable("weights", [8, 1])
loss = tf.reduce_mean(tf.square(tf.matmul(inputs, weights) - target))
step = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for _ in range(20):
        session.run(step, {inputs: x, target: y})
