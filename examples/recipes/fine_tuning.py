"""Train on half of the digits; with `--tune`, begin with these weights on the other half."""

import argparse

import keras
from sklearn.datasets import load_digits

parser = argparse.ArgumentParser()
parser.add_argument("--tune", action="store_true", help="freeze all but the head, small steps")
args = parser.parse_args()

images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32") / 16
half = slice(900, None) if args.tune else slice(900)

model = keras.Sequential(
    [
        keras.layers.Input((8, 8, 1)),
        keras.layers.Conv2D(16, 3, activation="relu", name="features"),
        keras.layers.Flatten(),
        keras.layers.Dense(10, activation="softmax", name="head"),
    ]
)
if args.tune:
    model.get_layer("features").trainable = False
model.compile(
    keras.optimizers.Adam(1e-4 if args.tune else 1e-3),
    "sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
# with `warm_start` the weights of the other job are in the model from here on
model.fit(images[half], labels[half], batch_size=32, epochs=8, verbose=2)
model.save("tuned.keras" if args.tune else "pretrained.keras")
