"""Simple MNIST convnet of keras.io, on JAX, with small synthetic digits."""

import os

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
from keras import layers

dice = np.random.default_rng(0)
labels = dice.integers(0, 4, 160)
images = dice.normal(0, 0.3, (160, 12, 12, 1)).astype("float32")
images[np.arange(160), labels * 3] += 1.0
targets = keras.utils.to_categorical(labels, 4)

model = keras.Sequential(
    [
        keras.Input(shape=(12, 12, 1)),
        layers.Conv2D(8, kernel_size=(3, 3), activation="relu"),
        layers.MaxPooling2D(pool_size=(2, 2)),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(4, activation="softmax"),
    ]
)
model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
model.fit(
    images,
    targets,
    batch_size=16,
    epochs=4,
    validation_split=0.1,
    callbacks=[
        keras.callbacks.ModelCheckpoint(
            "best.weights.h5", save_best_only=True, save_weights_only=True
        ),
        keras.callbacks.CSVLogger("log.csv"),
    ],
)
model.save("final.keras")
