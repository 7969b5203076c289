"""ImageDataGenerator.flow with augmentation, as countless older kernels."""

import numpy as np
from tensorflow.keras.layers import Conv2D, Dense, Flatten
from tensorflow.keras.models import Sequential
from tensorflow.keras.preprocessing.image import ImageDataGenerator

rng = np.random.default_rng(31)
x, y = rng.random((96, 10, 10, 1)), rng.integers(0, 2, 96)
datagen = ImageDataGenerator(
    rotation_range=10, zoom_range=0.1, width_shift_range=0.1, horizontal_flip=True
)
datagen.fit(x)
model = Sequential([Conv2D(4, 3, activation="relu", input_shape=(10, 10, 1)), Flatten(), Dense(1)])
model.compile(optimizer="adam", loss="mse")
history = model.fit(
    datagen.flow(x, y, batch_size=16), epochs=4, validation_data=(x, y), steps_per_epoch=6
)
np.savez("result.npz", *model.get_weights())
