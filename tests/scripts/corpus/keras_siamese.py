"""Triplets zipped from shuffled datasets and an own train_step, as keras.io's siamese network."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

rng = np.random.RandomState(seed=42)
anchors = rng.rand(80, 6).astype("float32")
positives = anchors + 0.1 * rng.rand(80, 6).astype("float32")
negative = tf.data.Dataset.from_tensor_slices(np.concatenate([anchors, positives]))
negative = negative.shuffle(buffer_size=4096)
dataset = tf.data.Dataset.zip(
    (
        tf.data.Dataset.from_tensor_slices(anchors),
        tf.data.Dataset.from_tensor_slices(positives),
        negative,
    )
)
dataset = dataset.shuffle(buffer_size=1024)
train = dataset.take(64).batch(16, drop_remainder=False).prefetch(tf.data.AUTOTUNE)
val = dataset.skip(64).batch(16).prefetch(tf.data.AUTOTUNE)
embedding = keras.Sequential(
    [keras.Input((6,)), layers.Dense(8, activation="relu"), layers.Dense(4)]
)


class SiameseModel(keras.Model):
    def __init__(self, embedding, margin=0.5):
        super().__init__()
        self.embedding = embedding
        self.margin = margin
        self.loss_tracker = keras.metrics.Mean(name="loss")

    def call(self, inputs):
        a, p, n = (self.embedding(one) for one in inputs)
        return tf.reduce_sum(tf.square(a - p), -1), tf.reduce_sum(tf.square(a - n), -1)

    def _compute(self, data):
        ap, an = self(data)
        return tf.maximum(ap - an + self.margin, 0.0)

    def train_step(self, data):
        with tf.GradientTape() as tape:
            loss = self._compute(data)
        gradients = tape.gradient(loss, self.embedding.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.embedding.trainable_weights))
        self.loss_tracker.update_state(loss)
        return {"loss": self.loss_tracker.result()}

    def test_step(self, data):
        self.loss_tracker.update_state(self._compute(data))
        return {"loss": self.loss_tracker.result()}

    @property
    def metrics(self):
        return [self.loss_tracker]


model = SiameseModel(embedding)
model.compile(optimizer=keras.optimizers.Adam(0.001), weighted_metrics=[])
model.fit(train, epochs=4, validation_data=val)
np.savez("result.npz", *embedding.get_weights())
