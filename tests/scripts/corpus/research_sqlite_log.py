"""Rows of each epoch in a sqlite database that a callback writes."""

import json
import sqlite3

import keras
import numpy as np

rng = np.random.default_rng(21)
x, y = rng.random((96, 4)).astype("float32"), rng.random((96, 1)).astype("float32")
db = sqlite3.connect("runs.db")
db.execute("create table if not exists log (epoch integer, loss real)")


class Log(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        db.execute("insert into log values (?, ?)", (epoch, float(logs["loss"])))
        db.commit()


keras.utils.set_random_seed(21)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(x, y, batch_size=12, epochs=5, verbose=0, callbacks=[Log()])
np.savez("weights.npz", *model.get_weights())
json.dump(db.execute("select * from log").fetchall(), open("rows.json", "w"))
