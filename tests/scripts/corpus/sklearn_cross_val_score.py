"""Keras' own scikit-learn wrapper in cross_val_score."""

import keras
import numpy as np
from keras.wrappers import SKLearnClassifier
from sklearn.model_selection import cross_val_score

rng = np.random.default_rng(53)
X, y = rng.random((90, 6)).astype("float32"), rng.integers(0, 2, 90)


def dynamic_model(X, y, loss, layers=(8,)):
    inputs = keras.Input(shape=(X.shape[1],))
    h = inputs
    for units in layers:
        h = keras.layers.Dense(units, activation="relu")(h)
    outputs = keras.layers.Dense(y.shape[1] if y.ndim > 1 else 1, activation="softmax")(h)
    model = keras.Model(inputs, outputs)
    model.compile(loss=loss, optimizer="adam")
    return model


est = SKLearnClassifier(
    model=dynamic_model,
    model_kwargs={"loss": "categorical_crossentropy", "layers": [8]},
    fit_kwargs={"epochs": 3, "batch_size": 16, "verbose": 0},
)
scores = cross_val_score(est, X, y, cv=3)
np.savez("result.npz", scores)
