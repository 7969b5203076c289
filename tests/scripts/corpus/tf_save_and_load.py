"""Checkpoints by number of batches with the epoch in the name, as TensorFlow's save and load."""

import os

import numpy as np
import tensorflow as tf
from tensorflow import keras

rng = np.random.default_rng(20)
train_images, train_labels = rng.random((96, 64)).astype("float32"), rng.integers(0, 10, 96)
test_images, test_labels = train_images[:30], train_labels[:30]


def create_model():
    model = tf.keras.Sequential(
        [
            keras.layers.Dense(16, activation="relu", input_shape=(64,)),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        optimizer="adam",
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[tf.keras.metrics.SparseCategoricalAccuracy()],
    )
    return model


checkpoint_path = "training_2/cp-{epoch:04d}.weights.h5"
checkpoint_dir = os.path.dirname(checkpoint_path)
os.makedirs(checkpoint_dir, exist_ok=True)
cp_callback = tf.keras.callbacks.ModelCheckpoint(
    filepath=checkpoint_path, verbose=1, save_weights_only=True, save_freq=12
)
model = create_model()
model.save_weights(checkpoint_path.format(epoch=0))
model.fit(
    train_images,
    train_labels,
    epochs=6,
    batch_size=16,
    callbacks=[cp_callback],
    validation_data=(test_images, test_labels),
    verbose=0,
)
latest = max(os.listdir(checkpoint_dir))
fresh = create_model()
fresh.load_weights(os.path.join(checkpoint_dir, latest))
loss, acc = fresh.evaluate(test_images, test_labels, verbose=2)
np.savez("result.npz", loss, *model.get_weights(), *fresh.get_weights())
