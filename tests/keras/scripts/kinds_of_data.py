"""Train on each kind of data that ``fit`` takes, in the idiom of tutorials: ``tf.keras`` alone.

Runs with every Keras from 2.15 on. Imports nothing of rekindle.
"""

import json

import numpy as np
import tensorflow as tf

EPOCHS, BATCH = 3, 16
dice = np.random.default_rng(1)
X = dice.normal(size=(200, 6, 6, 1)).astype("float32")
Y = (X.sum((1, 2, 3)) > 0).astype("int32")
XV, YV = X[:40] * 0.9, Y[:40]


def model_of(optimizer):
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.Input((6, 6, 1)),
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


class Rows(getattr(tf.keras.utils, "PyDataset", tf.keras.utils.Sequence)):
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


def stock_callbacks(name):
    """Make the callbacks that tutorials use."""
    callbacks = tf.keras.callbacks
    return [
        callbacks.ModelCheckpoint(
            name + "-{epoch:02d}.weights.h5", save_weights_only=True, save_best_only=True
        ),
        callbacks.CSVLogger(f"{name}.csv"),
        callbacks.ReduceLROnPlateau(patience=1, factor=0.5),
        callbacks.EarlyStopping(patience=5, restore_best_weights=True),
        callbacks.TerminateOnNaN(),
        callbacks.TensorBoard(f"{name}-board"),
    ]


def main():
    optimizers = tf.keras.optimizers
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(80).batch(BATCH).prefetch(2)
    # models that are collected at some time would leave the comparison at another time
    histories, kept = [], []

    def fit(model, *data, **more):
        history = model.fit(
            *data, epochs=EPOCHS, validation_data=(XV, YV), verbose=2, **more
        ).history
        kept.append(model)
        histories.append({key: list(map(float, values)) for key, values in history.items()})

    fit(model_of("adam"), X, Y, batch_size=BATCH, callbacks=stock_callbacks("arrays"))
    fit(model_of(optimizers.SGD(0.05, momentum=0.9)), dataset, callbacks=stock_callbacks("dataset"))
    fit(model_of(optimizers.RMSprop(1e-3)), dataset.repeat(), steps_per_epoch=11)
    fit(model_of(optimizers.Adam(1e-3)), Rows(), shuffle=True)
    fit(model_of(optimizers.Nadam(1e-3)), batches(), steps_per_epoch=12)
    with open("histories.json", "w") as file:
        json.dump(histories, file)


main()
