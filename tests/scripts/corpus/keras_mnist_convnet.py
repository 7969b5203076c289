"""Simple convolutional network on arrays, as keras.io's first vision examples."""

import keras
import numpy as np
from keras import layers

num_classes = 3
rng = np.random.default_rng(0)
x_train = rng.random((96, 8, 8), dtype="float32")
x_train = np.expand_dims(x_train, -1)
y_train = keras.utils.to_categorical(rng.integers(0, num_classes, 96), num_classes)

model = keras.Sequential(
    [
        keras.Input(shape=(8, 8, 1)),
        layers.Conv2D(4, kernel_size=(3, 3), activation="relu"),
        layers.MaxPooling2D(pool_size=(2, 2)),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(num_classes, activation="softmax"),
    ]
)
model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=16, epochs=4, validation_split=0.2)
score = model.evaluate(x_train, y_train, verbose=0)
np.savez("result.npz", score, *model.get_weights())
