"""Python's logging into a file that is opened first, and files that a callback opens itself."""

import json
import logging

import keras
import numpy as np

logging.basicConfig(filename="train.txt", filemode="w", format="%(message)s", level=logging.INFO)
log = logging.getLogger("train")
rng = np.random.default_rng(21)
x, y = rng.random((96, 4)).astype("float32"), rng.random((96, 1)).astype("float32")


class Log(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        log.info("epoch %d loss %.6f", epoch, logs["loss"])
        with open("history.jsonl", "a") as f:
            f.write(json.dumps({"epoch": epoch, "loss": float(logs["loss"])}) + "\n")
        try:
            old = json.load(open("all.json"))
        except FileNotFoundError:
            old = []
        json.dump([*old, float(logs["loss"])], open("all.json", "w"))


keras.utils.set_random_seed(21)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(x, y, batch_size=12, epochs=5, verbose=0, callbacks=[Log()])
np.savez("weights.npz", *model.get_weights())
rows = [json.loads(line) for line in open("history.jsonl")]
json.dump(rows, open("rows.json", "w"))
