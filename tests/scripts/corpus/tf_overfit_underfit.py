"""Several models trained by one function, histories in a dictionary, as overfit and underfit."""

import pathlib
import tempfile

import numpy as np
import tensorflow as tf
from tensorflow.keras import layers, regularizers

logdir = pathlib.Path(tempfile.mkdtemp()) / "tensorboard_logs"
rng = np.random.default_rng(21)
features, labels = rng.random((112, 10)).astype("float32"), rng.integers(0, 2, (112, 1))
ds = tf.data.Dataset.from_tensor_slices((features, labels))
validate_ds = ds.take(32).cache().batch(16)
train_ds = ds.skip(32).take(80).cache().shuffle(80).repeat().batch(16)
lr_schedule = tf.keras.optimizers.schedules.InverseTimeDecay(
    0.001, decay_steps=50, decay_rate=1, staircase=False
)


def compile_and_fit(model, name, max_epochs=4):
    model.compile(
        optimizer=tf.keras.optimizers.Adam(lr_schedule),
        loss=tf.keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[
            tf.keras.metrics.BinaryCrossentropy(from_logits=True, name="binary_crossentropy"),
            "accuracy",
        ],
    )
    return model.fit(
        train_ds,
        steps_per_epoch=5,
        epochs=max_epochs,
        validation_data=validate_ds,
        callbacks=[
            tf.keras.callbacks.EarlyStopping(monitor="val_binary_crossentropy", patience=200),
            tf.keras.callbacks.TensorBoard(logdir / name),
        ],
        verbose=0,
    )


size_histories = {}
models = {
    "tiny": [layers.Dense(4, activation="elu", input_shape=(10,)), layers.Dense(1)],
    "l2": [
        layers.Dense(8, activation="elu", kernel_regularizer=regularizers.l2(0.001)),
        layers.Dense(1),
    ],
    "dropout": [layers.Dense(8, activation="elu"), layers.Dropout(0.5), layers.Dense(1)],
}
weights = []
for name, stack in models.items():
    model = tf.keras.Sequential(stack)
    size_histories[name] = compile_and_fit(model, f"sizes/{name}").history
    weights += model.get_weights()
np.savez("result.npz", *weights, *[h["val_accuracy"] for h in size_histories.values()])
