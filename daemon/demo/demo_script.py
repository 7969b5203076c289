"""Hold the script that the demo trains: the same text as ``examples/digits/train.py``.

A wheel has no ``examples`` folder, and the demo also works from a wheel; a test compares.
"""

from pathlib import Path
from typing import Final

SCRIPT: Final = '''\
"""Handwritten digits: an ordinary Keras script on data that scikit-learn brings along."""

import argparse

import keras
import numpy as np
from sklearn.datasets import load_digits

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=12)
parser.add_argument("--batch-size", type=int, default=32)
parser.add_argument("--out", default="digits.keras")
args = parser.parse_args()

digits = load_digits()
images = (digits.images / 16.0).astype("float32")[..., np.newaxis]
labels = digits.target.astype("int32")
x_train, x_test = images[:1440], images[1440:]
y_train, y_test = labels[:1440], labels[1440:]

model = keras.Sequential(
    [
        keras.layers.Input((8, 8, 1)),
        keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
        keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(2),
        keras.layers.Dropout(0.3),
        keras.layers.Flatten(),
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(
    x_train,
    y_train,
    batch_size=args.batch_size,
    epochs=args.epochs,
    validation_data=(x_test, y_test),
    verbose=2,
)

loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"accuracy on {len(x_test)} digits it has not seen: {accuracy:.4f} (loss {loss:.4f})")
model.save(args.out)
print(f"saved {args.out}")
'''

EPOCHS: Final = 20


def write(folder: Path) -> Path:
    """Write the script into ``folder``; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "train.py"
    script.write_text(SCRIPT)
    return script


def spec(name: str, script: Path, workdir: Path) -> str:
    """Return a job spec that saves within the epoch and retries after seconds."""
    return f"""\
name = "{name}"
script = "{script}"
workdir = "{workdir}"
args = ["--epochs", "{EPOCHS}"]
seed = 7

[checkpoint]
every = "20 steps"
monitor = "val_loss"

[retry]
backoff = "1s..5s"
"""
