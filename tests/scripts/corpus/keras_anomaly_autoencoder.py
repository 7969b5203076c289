"""Convolutional reconstruction autoencoder, as timeseries anomaly detection."""

import keras
import numpy as np
from keras import layers

rng = np.random.default_rng(7)
x_train = np.stack([np.sin(np.arange(16) / 3 + p) for p in rng.random(96)])[..., None]
x_train = x_train.astype("float32")
model = keras.Sequential(
    [
        layers.Input(shape=(16, 1)),
        layers.Conv1D(filters=4, kernel_size=7, padding="same", strides=2, activation="relu"),
        layers.Dropout(rate=0.2),
        layers.Conv1DTranspose(4, kernel_size=7, padding="same", strides=2, activation="relu"),
        layers.Conv1DTranspose(filters=1, kernel_size=7, padding="same"),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.001), loss="mse")
stopping = keras.callbacks.EarlyStopping(
    monitor="val_loss", patience=2, mode="min", restore_best_weights=True
)
model.fit(x_train, x_train, epochs=6, batch_size=16, validation_split=0.1, callbacks=[stopping])
loss = np.mean(np.abs(model.predict(x_train) - x_train), axis=1)
np.savez("result.npz", loss, *model.get_weights())
