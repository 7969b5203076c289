"""Class weights, sample weights and many metrics, as imbalanced classification."""

import numpy as np
import tensorflow as tf
from tensorflow import keras

METRICS = [
    keras.metrics.TruePositives(name="tp"),
    keras.metrics.Precision(name="precision"),
    keras.metrics.Recall(name="recall"),
    keras.metrics.AUC(name="prc", curve="PR"),
]
rng = np.random.default_rng(38)
X = rng.random((128, 8)).astype("float32")
y = (rng.random(128) < 0.1).astype("int32")
initial_bias = np.log([y.sum() / (len(y) - y.sum())])
model = keras.Sequential(
    [
        keras.layers.Dense(8, activation="relu"),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(
            1, activation="sigmoid", bias_initializer=tf.keras.initializers.Constant(initial_bias)
        ),
    ]
)
model.compile(optimizer="adam", loss=keras.losses.BinaryCrossentropy(), metrics=METRICS)
early_stopping = keras.callbacks.EarlyStopping(
    monitor="val_prc", patience=3, mode="max", restore_best_weights=True
)
model.fit(
    X,
    y,
    batch_size=16,
    epochs=4,
    callbacks=[early_stopping],
    validation_data=(X[:40], y[:40]),
    class_weight={0: 0.55, 1: 5.0},
)
np.savez("result.npz", *model.get_weights())
