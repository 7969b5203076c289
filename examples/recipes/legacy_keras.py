"""Keras 2 as `tf_keras`, on a TensorFlow that comes with Keras 3."""

import numpy as np
import tf_keras as keras
from sklearn.datasets import load_digits

images, labels = load_digits(return_X_y=True)
images = images.astype("float32") / 16

model = keras.Sequential(
    [
        keras.layers.Dense(64, activation="relu", input_shape=(64,)),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(
    images[:1440],
    labels[:1440],
    validation_data=(images[1440:], labels[1440:]),
    batch_size=32,
    epochs=6,
    callbacks=[keras.callbacks.CSVLogger("epochs.csv", append=True)],
    verbose=2,
)
np.savez("weights.npz", *model.get_weights())
model.save("legacy_keras.keras")
