"""Lines written for each batch: a log held open, and one opened for each, as LambdaCallback."""

import json

import keras
import numpy as np

rng = np.random.default_rng(83)
x, y = rng.random((96, 8)).astype("float32"), rng.random(96)
model = keras.Sequential(
    [
        keras.Input((8,)),
        keras.layers.Dense(8, "relu"),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(1),
    ]
)
model.compile("adam", "mse")


def append(batch, logs):
    with open("batches.txt", "a") as file:
        file.write(f"{batch} {logs['loss']:.6f}\n")


json_log = open("loss_log.json", mode="a", buffering=1)
callbacks = [
    keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: json_log.write(
            json.dumps({"epoch": epoch, "loss": logs["loss"]}) + "\n"
        ),
        on_train_end=lambda logs: json_log.close(),
    ),
    keras.callbacks.LambdaCallback(on_train_batch_end=append),
]
model.fit(x, y, epochs=5, batch_size=16, callbacks=callbacks)
np.savez("result.npz", *model.get_weights())
