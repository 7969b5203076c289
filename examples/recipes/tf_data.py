"""A `tf.data` pipeline that shuffles, augments and reads ahead."""

import keras
import tensorflow as tf
from sklearn.datasets import load_digits

images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32") / 16

train = (
    tf.data.Dataset.from_tensor_slices((images[:1440], labels[:1440]))
    .shuffle(1440, seed=7)
    .batch(32)
    .prefetch(tf.data.AUTOTUNE)
)
valid = tf.data.Dataset.from_tensor_slices((images[1440:], labels[1440:])).batch(64)

model = keras.Sequential(
    [
        keras.layers.Input((8, 8, 1)),
        # in the model, not in a map function: its random state is then a part of the checkpoint
        keras.layers.RandomTranslation(0.1, 0.1),
        keras.layers.Conv2D(16, 3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(
    train,
    validation_data=valid,
    epochs=6,
    callbacks=[keras.callbacks.CSVLogger("epochs.csv", append=True)],
    verbose=2,
)
model.save("tf_data.keras")
