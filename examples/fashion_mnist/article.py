"""The Keras checkpoint article in its own idiom: `import tensorflow as tf`, two fits, callbacks."""

import argparse
import glob
import os

import numpy as np
import tensorflow as tf

parser = argparse.ArgumentParser()
parser.add_argument("--data", help="an .npz with x_train, y_train, x_test, y_test; else downloaded")
parser.add_argument("--epochs", type=int, default=10, help="of each of the two trainings")
args = parser.parse_args()

if args.data:
    with np.load(args.data) as data:
        train_images, train_labels = data["x_train"], data["y_train"]
        test_images, test_labels = data["x_test"], data["y_test"]
else:
    (train_images, train_labels), (test_images, test_labels) = (
        tf.keras.datasets.fashion_mnist.load_data()
    )
train_images = train_images.reshape(-1, 28, 28, 1) / 255.0
test_images = test_images.reshape(-1, 28, 28, 1) / 255.0


def create_model():
    model = tf.keras.models.Sequential(
        [
            tf.keras.layers.Input((28, 28, 1)),
            tf.keras.layers.Conv2D(64, 2, padding="same", activation="relu"),
            tf.keras.layers.MaxPooling2D(2),
            tf.keras.layers.Dropout(0.3),
            tf.keras.layers.Conv2D(32, 2, padding="same", activation="relu"),
            tf.keras.layers.MaxPooling2D(2),
            tf.keras.layers.Dropout(0.3),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(256, activation="relu"),
            tf.keras.layers.Dropout(0.5),
            tf.keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer="adam", loss=tf.keras.losses.SparseCategoricalCrossentropy(), metrics=["accuracy"]
    )
    return model


# train, and keep the weights of the best epoch
os.makedirs("training_1", exist_ok=True)
best = tf.keras.callbacks.ModelCheckpoint(
    filepath="training_1/best.weights.h5",
    save_weights_only=True,
    monitor="val_accuracy",
    mode="max",
    save_best_only=True,
    verbose=1,
)
model = create_model()
model.fit(
    train_images,
    train_labels,
    epochs=args.epochs,
    validation_data=(test_images, test_labels),
    callbacks=[best],
    verbose=2,
)

# an untrained model gets them back
restored = create_model()
restored.load_weights("training_1/best.weights.h5")
loss, accuracy = restored.evaluate(test_images, test_labels, verbose=0)
print(f"restored model, accuracy: {100 * accuracy:5.2f} %")

# train it further, with the epoch in the file name
os.makedirs("training_2", exist_ok=True)
every = tf.keras.callbacks.ModelCheckpoint(
    filepath="training_2/cp-{epoch:04d}.weights.h5", save_weights_only=True, verbose=0
)
restored.fit(
    train_images,
    train_labels,
    initial_epoch=args.epochs,
    epochs=2 * args.epochs,
    validation_data=(test_images, test_labels),
    callbacks=[every],
    verbose=2,
)

# the latest file of them
latest = max(glob.glob("training_2/cp-*.weights.h5"))
restored.load_weights(latest)
loss, accuracy = restored.evaluate(test_images, test_labels, verbose=0)
print(f"{latest}: after {2 * args.epochs} epochs, accuracy: {100 * accuracy:5.2f} %")
restored.save("article.keras")
