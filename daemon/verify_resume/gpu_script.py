"""Hold the script that `verify-resume --gpu` trains if no job is given.

It has what sums in no fixed order on a GPU unless op determinism is on: convolutions, pooling,
gradients of an embedding.
"""

from pathlib import Path
from typing import Final

SCRIPT: Final = '''\
"""Train a small model for half a minute on any GPU, with op determinism."""

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(7)
tf.config.experimental.enable_op_determinism()

dice = np.random.default_rng(7)
images = dice.normal(size=(4096, 16, 16, 3)).astype("float32")
words = dice.integers(0, 100, size=(4096, 8)).astype("int32")
labels = (images.mean(axis=(1, 2, 3)) + words.mean(axis=1) / 100 > 0.5).astype("int32")

picture = keras.Input((16, 16, 3))
text = keras.Input((8,), dtype="int32")
x = keras.layers.Conv2D(32, 3, padding="same", activation="relu")(picture)
x = keras.layers.BatchNormalization()(x)
x = keras.layers.MaxPooling2D(2)(x)
x = keras.layers.Conv2D(64, 3, padding="same", activation="relu")(x)
x = keras.layers.GlobalAveragePooling2D()(x)
y = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(100, 32)(text))
z = keras.layers.Dropout(0.3)(keras.layers.Concatenate()([x, y]))
model = keras.Model([picture, text], keras.layers.Dense(2, activation="softmax")(z))
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit([images, words], labels, epochs=10, batch_size=32, validation_split=0.1, verbose=2)
'''


def write(folder: Path) -> Path:
    """Write the script into a folder."""
    script = folder / "gpu_trial.py"
    script.write_text(SCRIPT)
    return script
