"""`from tensorflow import keras`: books and courses."""

from slow import data, pause
from tensorflow import keras
from tensorflow.keras import layers

x, y = data()
inputs = keras.Input(shape=(8,))
outputs = layers.Dense(1, activation="sigmoid")(layers.Dense(16, activation="relu")(inputs))
model = keras.Model(inputs, outputs)
model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["accuracy"])
slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: pause())
model.fit(x, y, batch_size=16, epochs=4, callbacks=[slow], verbose=2)
