"""Bidirectional LSTM on padded token ids, as keras.io text classification."""

import keras
import numpy as np
from keras import layers

max_features, maxlen = 50, 12
rng = np.random.default_rng(2)
x_train = keras.utils.pad_sequences(
    [rng.integers(1, max_features, rng.integers(3, maxlen)) for _ in range(96)], maxlen=maxlen
)
y_train = rng.integers(0, 2, 96)
inputs = keras.Input(shape=(None,), dtype="int32")
x = layers.Embedding(max_features, 8)(inputs)
x = layers.Bidirectional(layers.LSTM(4, return_sequences=True, dropout=0.2))(x)
x = layers.Bidirectional(layers.LSTM(4))(x)
outputs = layers.Dense(1, activation="sigmoid")(x)
model = keras.Model(inputs, outputs)
model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=16, epochs=3, validation_data=(x_train[:30], y_train[:30]))
np.savez("result.npz", *model.get_weights())
