"""Supervised contrastive learning: pretrain an encoder, freeze it, train a classifier."""

import keras
import numpy as np
from keras import layers, ops

rng = np.random.default_rng(11)
x, y = rng.random((96, 8)).astype("float32"), rng.integers(0, 3, 96)


class SupervisedContrastiveLoss(keras.losses.Loss):
    def __init__(self, temperature=1, name=None):
        super().__init__(name=name)
        self.temperature = temperature

    def __call__(self, labels, features, sample_weight=None):
        features = ops.normalize(features, axis=1)
        logits = ops.matmul(features, ops.transpose(features)) / self.temperature
        same = ops.cast(ops.equal(labels, ops.transpose(labels)), "float32")
        log_prob = logits - ops.logsumexp(logits, axis=1, keepdims=True)
        return -ops.mean(ops.sum(same * log_prob, axis=1) / ops.sum(same, axis=1))


def create_encoder():
    inputs = keras.Input((8,))
    return keras.Model(
        inputs, layers.Dense(8, activation="relu")(layers.GaussianNoise(0.1)(inputs))
    )


def create_classifier(encoder, trainable=True):
    for layer in encoder.layers:
        layer.trainable = trainable
    inputs = keras.Input((8,))
    features = layers.Dropout(0.5)(encoder(inputs))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(features))
    model.compile(
        optimizer=keras.optimizers.Adam(0.001),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    return model


encoder = create_encoder()
inputs = keras.Input((8,))
projection = keras.Model(inputs, layers.Dense(4, activation="relu")(encoder(inputs)))
projection.compile(optimizer=keras.optimizers.Adam(0.001), loss=SupervisedContrastiveLoss(0.05))
projection.fit(x=x, y=y[:, None], batch_size=16, epochs=3)
classifier = create_classifier(encoder, trainable=False)
history = classifier.fit(x=x, y=y, batch_size=16, epochs=3)
np.savez("result.npz", *classifier.get_weights())
