"""Train with every kind of ModelCheckpoint in the article."""

import keras
import numpy as np

dice = np.random.default_rng(1)
X = dice.normal(size=(200, 6)).astype("float32")
Y = (X.sum(1) > 0).astype("int32")
saved = keras.callbacks.ModelCheckpoint

model = keras.Sequential(
    [
        keras.layers.Input((6,)),
        keras.layers.Dense(8, activation="relu"),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(2, activation="softmax"),
    ]
)
model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(
    X,
    Y,
    batch_size=16,
    epochs=6,
    verbose=2,
    validation_data=(X[:40], Y[:40]),
    callbacks=[
        saved("weights/{epoch:04d}.weights.h5", save_weights_only=True, verbose=1),
        saved("metrics/{epoch:02d}-{val_loss:.4f}.keras"),
        saved(
            "best/{epoch:04d}.weights.h5",
            monitor="val_accuracy",
            mode="max",
            save_best_only=True,
            save_weights_only=True,
            verbose=1,
        ),
        saved(
            "bar/{epoch:04d}.keras",
            monitor="val_loss",
            save_best_only=True,
            initial_value_threshold=0.55,
        ),
        saved("batches/{epoch:02d}-{batch:04d}.weights.h5", save_freq=5, save_weights_only=True),
    ],
)
