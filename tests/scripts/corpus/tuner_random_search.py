"""KerasTuner random search that overwrites, then the best model trained on."""

import keras
import keras_tuner
import numpy as np

rng = np.random.default_rng(51)
x, y = rng.random((80, 8)).astype("float32"), rng.integers(0, 2, 80)


def build_model(hp):
    model = keras.Sequential()
    model.add(keras.layers.Dense(hp.Choice("units", [4, 8, 12]), activation="relu"))
    if hp.Boolean("dropout"):
        model.add(keras.layers.Dropout(rate=0.25))
    model.add(keras.layers.Dense(1, activation="sigmoid"))
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    return model


tuner = keras_tuner.RandomSearch(
    build_model,
    objective="val_accuracy",
    max_trials=3,
    seed=1,
    overwrite=True,
    directory="tuning",
    project_name="helloworld",
)
tuner.search(x, y, epochs=2, batch_size=16, validation_data=(x[:30], y[:30]), verbose=0)
model = build_model(tuner.get_best_hyperparameters(1)[0])
model.fit(x, y, epochs=2, batch_size=16, verbose=0)
np.savez("result.npz", *model.get_weights())
