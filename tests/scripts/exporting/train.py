"""A small network on data anyone can make again; ``train.py KIND``."""

import sys
import time

import keras
import numpy as np

KIND = sys.argv[1]
dice = np.random.default_rng(4)
X = dice.normal(size=(240, 6)).astype("float32")
Y = (X[:, 0] + X[:, 1] ** 2 > 0.8).astype("int32")
layers = keras.layers


class Residual(keras.Model):
    """A model with code of its own; Keras cannot know it in another process."""

    def __init__(self, **more):
        super().__init__(**more)
        self.first = layers.Dense(16, activation="relu")
        self.drop = layers.Dropout(0.2)
        self.last = layers.Dense(2)

    def call(self, x, training=False):
        return self.last(self.drop(self.first(x), training=training)) + x[:, :2]


def made():
    if KIND == "subclassed":
        return Residual()
    if KIND == "mixed":
        keras.mixed_precision.set_global_policy("mixed_float16")
    inputs = keras.Input((6,))
    width = 17 if KIND == "wider" else 16
    x = layers.BatchNormalization()(layers.Dense(width, activation="relu")(inputs))
    x = layers.Dropout(0.3)(x)
    outputs = layers.Dense(2, dtype="float32")(x)
    return keras.Model(inputs, outputs)


if __name__ == "__main__":
    model = made()
    model.compile(
        keras.optimizers.Adam(0.02, use_ema=KIND == "mixed"),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    pause = 0.06 if KIND == "slow" else 0
    slowly = keras.callbacks.LambdaCallback(on_train_batch_end=lambda b, logs: time.sleep(pause))
    history = model.fit(
        X[:180],
        Y[:180],
        batch_size=20,
        epochs=4,
        verbose=2,
        callbacks=[slowly],
        validation_data=(X[180:], Y[180:]),
    )
    print("WANTED", history.history["val_accuracy"][-1])
