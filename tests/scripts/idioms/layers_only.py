"""`from keras import layers` and no `import keras`: refactored model files."""

from keras import layers

from keras.models import Model  # isort: skip
from keras.callbacks import LambdaCallback  # isort: skip
from slow import data, pause  # isort: skip

x, y = data()
inputs = layers.Input((8,))
model = Model(inputs, layers.Dense(1)(layers.Dense(16, activation="relu")(inputs)))
model.compile("adam", "mse")
slow = LambdaCallback(on_train_batch_end=lambda batch, logs: pause())
model.fit(x, y, batch_size=16, epochs=4, callbacks=[slow], verbose=2)
