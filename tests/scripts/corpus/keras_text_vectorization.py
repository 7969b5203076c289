"""TextVectorization, adapted, then applied by map, as text classification from scratch."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

rng = np.random.default_rng(4)
words = np.array([f"word{i}" for i in range(30)])
texts = [" ".join(rng.choice(words, 8)) for _ in range(96)]
labels = rng.integers(0, 2, 96)
raw = tf.data.Dataset.from_tensor_slices((texts, labels)).shuffle(96, seed=5).batch(16)
vectorize = layers.TextVectorization(max_tokens=40, output_mode="int", output_sequence_length=10)
vectorize.adapt(raw.map(lambda x, y: x))
train = raw.map(lambda text, label: (vectorize(tf.expand_dims(text, -1)), label))
train = train.cache().prefetch(buffer_size=10)
inputs = keras.Input(shape=(None,), dtype="int64")
x = layers.Embedding(40, 8)(inputs)
x = layers.Dropout(0.5)(x)
x = layers.Conv1D(8, 3, padding="valid", activation="relu", strides=2)(x)
x = layers.GlobalMaxPooling1D()(x)
model = keras.Model(inputs, layers.Dense(1, activation="sigmoid", name="predictions")(x))
model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
model.fit(train, epochs=4)
np.savez("result.npz", *model.get_weights())
