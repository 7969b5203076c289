"""A random search with KerasTuner, and the best model trained on."""

import keras
import keras_tuner
import numpy as np
from sklearn.datasets import load_digits

images, labels = load_digits(return_X_y=True)
images = images.astype("float32") / 16
train, valid = slice(1440), slice(1440, None)


def build(hp):
    model = keras.Sequential(
        [
            keras.layers.Input((64,)),
            keras.layers.Dense(hp.Choice("units", [16, 32, 64]), activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    rate = hp.Float("rate", 1e-4, 1e-2, sampling="log")
    model.compile(
        keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


search = keras_tuner.RandomSearch(
    build,
    objective="val_accuracy",
    max_trials=4,
    seed=7,  # each attempt asks for the same trials, in the same order
    overwrite=True,  # a finished trial is restored by rekindle, not by the tuner
    directory="search",
    project_name="digits",
)
search.search(
    images[train],
    labels[train],
    validation_data=(images[valid], labels[valid]),
    batch_size=64,
    epochs=2,
    verbose=0,
)
chosen = search.get_best_hyperparameters(1)[0]
print(f"best: {chosen.values}")

model = build(chosen)
model.fit(images[train], labels[train], batch_size=64, epochs=4, verbose=2)
np.savez("weights.npz", *model.get_weights())
model.save("tuner.keras")
