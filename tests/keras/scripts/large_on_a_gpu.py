"""Train a network whose arrays are large enough to be copied on the GPU. Knows no rekindle."""

import os

import keras
import numpy as np

if os.environ["KERAS_BACKEND"] == "torch":
    import torch

    torch.use_deterministic_algorithms(True)

dice = np.random.default_rng(3)
X = dice.normal(size=(320, 256)).astype("float32")
Y = (X.sum(1) > 0).astype("int32")
layers = keras.layers
model = keras.Sequential(
    [
        layers.Input((256,)),
        layers.Dense(1024, activation="relu"),
        layers.Dropout(0.3),
        layers.Dense(1024, activation="relu"),
        layers.BatchNormalization(),
        layers.Dense(2, activation="softmax"),
    ]
)
model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(X, Y, batch_size=16, epochs=3, verbose=2, validation_split=0.2)
np.savez("end.npz", *model.get_weights())
np.save("losses.npy", np.array(history.history["loss"]))
