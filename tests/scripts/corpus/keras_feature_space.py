"""Structured data with FeatureSpace, as keras.io structured data examples."""

import keras
import numpy as np
import tensorflow as tf
from keras.utils import FeatureSpace

rng = np.random.default_rng(5)
columns = {
    "age": rng.integers(20, 80, 96),
    "rate": rng.random(96).astype("float32"),
    "thal": rng.choice(["normal", "fixed", "reversible"], 96),
}
target = rng.integers(0, 2, 96)
ds = tf.data.Dataset.from_tensor_slices((dict(columns), target)).shuffle(buffer_size=96).batch(16)
space = FeatureSpace(
    features={
        "age": FeatureSpace.integer_categorical(num_oov_indices=0),
        "rate": FeatureSpace.float_normalized(),
        "thal": FeatureSpace.string_categorical(num_oov_indices=0),
    },
    output_mode="concat",
)
space.adapt(ds.map(lambda x, _: x))
train = ds.map(lambda x, y: (space(x), y), num_parallel_calls=tf.data.AUTOTUNE)
train = train.prefetch(tf.data.AUTOTUNE)
x = keras.layers.Dense(8, activation="relu")(space.get_encoded_features())
x = keras.layers.Dropout(0.5)(x)
outputs = keras.layers.Dense(1, activation="sigmoid")(x)
model = keras.Model(inputs=space.get_encoded_features(), outputs=outputs)
model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
model.fit(train, epochs=4, verbose=2)
np.savez("result.npz", *model.get_weights())
