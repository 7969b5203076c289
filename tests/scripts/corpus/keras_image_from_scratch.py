"""Augmentation layers before a residual network, as image classification from scratch."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

rng = np.random.default_rng(1)
images = rng.integers(0, 255, (80, 12, 12, 3)).astype("uint8")
labels = rng.integers(0, 2, 80)
augmentation = [layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)]


def augment(batch):
    for layer in augmentation:
        batch = layer(batch)
    return batch


train = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(80).batch(16)
train = train.map(lambda x, y: (augment(x), y), num_parallel_calls=tf.data.AUTOTUNE)
train = train.prefetch(tf.data.AUTOTUNE)
val = tf.data.Dataset.from_tensor_slices((images[:32], labels[:32])).batch(16)


def make_model(shape):
    inputs = keras.Input(shape=shape)
    x = layers.Rescaling(1.0 / 255)(inputs)
    x = layers.Conv2D(8, 3, strides=2, padding="same")(x)
    x = layers.BatchNormalization()(x)
    x = previous = layers.Activation("relu")(x)
    x = layers.SeparableConv2D(8, 3, padding="same")(x)
    x = layers.BatchNormalization()(x)
    x = layers.add([x, previous])
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.25)(x)
    return keras.Model(inputs, layers.Dense(1, activation=None)(x))


model = make_model((12, 12, 3))
callbacks = [keras.callbacks.ModelCheckpoint("save_at_{epoch}.keras")]
model.compile(
    optimizer=keras.optimizers.Adam(3e-4),
    loss=keras.losses.BinaryCrossentropy(from_logits=True),
    metrics=[keras.metrics.BinaryAccuracy(name="acc")],
)
model.fit(train, epochs=4, callbacks=callbacks, validation_data=val)
np.savez("result.npz", *model.get_weights())
