"""Every stock callback of Keras in one fit."""

import os

import keras
import numpy as np

rng = np.random.default_rng(47)
x, y = rng.random((96, 8)).astype("float32"), rng.random(96)
inputs = keras.Input((8,))
h = keras.layers.Dense(8, activation="relu", name="features")(inputs)
model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dropout(0.1)(h)))
model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
os.makedirs("out", exist_ok=True)
callbacks = [
    keras.callbacks.BackupAndRestore("out/backup"),
    keras.callbacks.ModelCheckpoint(
        "out/{epoch:02d}-{val_loss:.3f}.keras", save_best_only=True, verbose=1
    ),
    keras.callbacks.EarlyStopping(patience=4, restore_best_weights=True),
    keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=1, min_delta=1e-3),
    keras.callbacks.LearningRateScheduler(lambda epoch, lr: lr * 0.95),
    keras.callbacks.CSVLogger("out/log.csv", append=True),
    keras.callbacks.TensorBoard("out/logs", histogram_freq=1, update_freq="epoch"),
    keras.callbacks.TerminateOnNaN(),
    keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: open("out/notes.txt", "a").write(f"{epoch}\n")
    ),
]
model.fit(x, y, epochs=5, batch_size=16, validation_split=0.25, callbacks=callbacks)
np.savez("result.npz", *model.get_weights())
