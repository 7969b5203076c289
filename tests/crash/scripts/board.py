"""Train with TensorBoard in a shared folder, and with a writer of the script's own."""

import json
import os
import socket
import time

import keras
import numpy as np
import tensorflow as tf

dice = np.random.default_rng(2)
x = dice.normal(size=(208, 6)).astype("float32")
y = (x.sum(1) > 0).astype("int32")
model = keras.Sequential(
    [
        keras.layers.Input((6,)),
        keras.layers.Dense(8, activation="relu"),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(2),
    ]
)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
mine = tf.summary.create_file_writer("logs/mine")
with mine.as_default():
    tf.summary.scalar("begun", 1.0, 0)
mine.flush()
# as a file that is moved between os.walk and os.stat
os.symlink(
    "gone",
    f"logs/mine/events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}.99.v2",
)
model.fit(
    x,
    y,
    batch_size=16,
    epochs=4,
    verbose=2,
    validation_data=(x[:40], y[:40]),
    callbacks=[keras.callbacks.TensorBoard("logs", update_freq=3)],
)
with mine.as_default():
    tf.summary.scalar("ended", 1.0, 0)
mine.close()

seen, own = [], []
for file in tf.io.gfile.glob("logs/*/events.out.tfevents.*"):
    part = file.split("/")[1]
    if part == "other" or not os.path.exists(file):
        continue
    for event in tf.compat.v1.train.summary_iterator(file):
        for value in event.summary.value:
            if part == "mine":
                own.append([value.tag, f".{os.getpid()}." in file])
            elif value.tag != "keras" and "steps_per_second" not in value.tag:
                seen.append([part, value.tag, event.step, float(tf.make_ndarray(value.tensor))])
assert ["begun", True] in own and ["ended", True] in own, own
with open("events.json", "w") as file:
    json.dump(sorted(seen), file)
