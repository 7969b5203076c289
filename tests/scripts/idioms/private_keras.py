"""`tensorflow.python.keras`, an old copy inside of TensorFlow: answers in forums name it."""

from slow import data
from tensorflow.python.keras.layers import Dense
from tensorflow.python.keras.models import Sequential

x, y = data()
model = Sequential([Dense(4, input_shape=(8,)), Dense(1)])
model.compile("sgd", "mse")
model.fit(x, y, batch_size=16, epochs=2, verbose=2)
