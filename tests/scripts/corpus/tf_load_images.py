"""image_dataset_from_directory with cache, shuffle and prefetch, as TensorFlow's load images."""

import pathlib

import numpy as np
import tensorflow as tf

data_dir = pathlib.Path("flower_photos")
rng = np.random.default_rng(22)
for kind in ("daisy", "roses"):
    (data_dir / kind).mkdir(parents=True, exist_ok=True)
    for i in range(40):
        pixels = rng.integers(0, 255, (10, 10, 3)).astype("uint8")
        (data_dir / kind / f"{i}.png").write_bytes(tf.io.encode_png(pixels).numpy())
options = {"validation_split": 0.2, "seed": 123, "image_size": (10, 10), "batch_size": 16}
train_ds = tf.keras.utils.image_dataset_from_directory(data_dir, subset="training", **options)
val_ds = tf.keras.utils.image_dataset_from_directory(data_dir, subset="validation", **options)
AUTOTUNE = tf.data.AUTOTUNE
train_ds = train_ds.cache().shuffle(1000).prefetch(buffer_size=AUTOTUNE)
val_ds = val_ds.cache().prefetch(buffer_size=AUTOTUNE)
model = tf.keras.Sequential(
    [
        tf.keras.layers.Rescaling(1.0 / 255),
        tf.keras.layers.RandomFlip("horizontal"),
        tf.keras.layers.Conv2D(4, 3, activation="relu"),
        tf.keras.layers.MaxPooling2D(),
        tf.keras.layers.Flatten(),
        tf.keras.layers.Dense(2),
    ]
)
model.compile(
    optimizer="adam",
    loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
model.fit(train_ds, validation_data=val_ds, epochs=4)
np.savez("result.npz", *model.get_weights())
