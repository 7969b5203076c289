"""Train on each kind of data that ``fit`` of Keras 3 takes on JAX and PyTorch, as keras.io does.

What is not installed is left out. Imports nothing of rekindle.
"""

import json
from importlib.util import find_spec

import keras
import numpy as np

if find_spec("tensorflow"):
    import tensorflow as tf

EPOCHS, BATCH = 3, 16
dice = np.random.default_rng(1)
X = dice.normal(size=(200, 6, 6, 1)).astype("float32")
Y = (X.sum((1, 2, 3)) > 0).astype("int32")
XV, YV = X[:40] * 0.9, Y[:40]


def model_of(optimizer):
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((6, 6, 1)),
            layers.GaussianNoise(0.05),
            layers.Flatten(),
            layers.Dense(12, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.4),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def batches():
    """Yield batches without end, drawn from numpy's global generator."""
    while True:
        rows = np.random.permutation(len(X))[:BATCH]
        yield X[rows] + np.float32(np.random.normal(0, 0.05)), Y[rows]


class Rows(keras.utils.PyDataset):
    """Return batches in an order that changes after each epoch."""

    def __init__(self):
        super().__init__()
        self.rows = np.arange(len(X))

    def __len__(self):
        return len(X) // BATCH

    def __getitem__(self, index):
        part = self.rows[index * BATCH : (index + 1) * BATCH]
        return X[part], Y[part]

    def on_epoch_end(self):
        np.random.shuffle(self.rows)


def loader():
    """Make a DataLoader whose dataset draws, and which shuffles."""
    import torch

    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return len(X)

        def __getitem__(self, index):
            return torch.from_numpy(X[index]) + 0.01 * torch.randn(6, 6, 1), int(Y[index])

    return torch.utils.data.DataLoader(Noisy(), batch_size=BATCH, shuffle=True)


def dataset():
    """Make a pipeline of TensorFlow that shuffles."""
    return tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(80).batch(BATCH).prefetch(2)


def stock_callbacks(name):
    """Make the callbacks that tutorials use."""
    callbacks = keras.callbacks
    return [
        callbacks.ModelCheckpoint(
            name + "-{epoch:02d}.weights.h5", save_weights_only=True, save_best_only=True
        ),
        callbacks.CSVLogger(f"{name}.csv"),
        callbacks.ReduceLROnPlateau(patience=1, factor=0.5),
        callbacks.EarlyStopping(patience=5, restore_best_weights=True),
        callbacks.TerminateOnNaN(),
        callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: drawn.append(np.random.rand())),
    ]


drawn = []


def main():
    optimizers = keras.optimizers
    histories, kept = [], []

    def fit(model, *data, validation=(XV, YV), **more):
        history = model.fit(
            *data, epochs=EPOCHS, validation_data=validation, verbose=2, **more
        ).history
        kept.append(model)
        histories.append({key: list(map(float, values)) for key, values in history.items()})

    fit(model_of("adam"), X, Y, batch_size=BATCH, callbacks=stock_callbacks("arrays"))
    fit(model_of(optimizers.Adam(1e-3)), Rows(), shuffle=True, validation=Rows())
    fit(model_of(optimizers.Nadam(1e-3)), batches(), steps_per_epoch=12)
    if find_spec("torch"):
        fit(model_of(optimizers.SGD(0.05, momentum=0.9)), loader())
    if find_spec("tensorflow"):
        pipeline = dataset()
        fit(model_of(optimizers.RMSprop(1e-3)), pipeline, callbacks=stock_callbacks("dataset"))
        fit(model_of(optimizers.AdamW(1e-3)), pipeline.repeat(), steps_per_epoch=11)
    with open("histories.json", "w") as file:
        json.dump([histories, drawn], file)


main()
